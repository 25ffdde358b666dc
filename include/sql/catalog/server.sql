-- What kind of server this is.
-- Result: version number, encoding, in recovery, fsync.
SELECT
    current_setting('server_version_num')::int,
    current_setting('server_encoding'),
    pg_is_in_recovery(),
    current_setting('fsync');
