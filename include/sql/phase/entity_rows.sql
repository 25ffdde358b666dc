-- What a phase moved, by entity, from the ledger's batches.
-- Parameters: mapping, phase. Result: entity, batches, rows read, loaded, kept, deleted, rejected, bytes.
SELECT entity, count(*),
       coalesce(sum(source_rows), 0)::bigint, coalesce(sum(loaded_rows), 0)::bigint,
       coalesce(sum(kept_rows), 0)::bigint, coalesce(sum(deleted_rows), 0)::bigint,
       coalesce(sum(rejected_rows), 0)::bigint, coalesce(sum(bytes), 0)::bigint
FROM sinew.batch
WHERE mapping = %(mapping)s AND phase = %(phase)s AND state <> 'stale'
GROUP BY entity
ORDER BY entity
