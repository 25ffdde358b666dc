-- The snapshot of the running transaction and the identity of the server that gave it. First statement of an extract.
-- Result: snapshot, position of the log, postmaster start, database.
SELECT
    pg_current_snapshot()::text,
    pg_current_wal_insert_lsn()::text,
    pg_postmaster_start_time()::text;
