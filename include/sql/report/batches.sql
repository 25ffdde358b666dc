-- The batches of one phase. Parameters: mapping, phase.
-- Result: id, entity, state, attempt, source rows, timings, last change, error, source snapshot.
SELECT id, entity, state, attempt, coalesce(source_rows, 0), timings, updated_at, error, source_snapshot
FROM sinew.batch
WHERE mapping = %(mapping)s AND phase = %(phase)s AND state <> 'stale'
ORDER BY id;
