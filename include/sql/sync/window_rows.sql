-- What a run did, by entity.
-- Parameter: window. Result: the columns of sinew.engine.windows.EntityRows, in their order.
SELECT entity, coalesce(source_rows, 0), coalesce(loaded_rows, 0), coalesce(rejected_rows, 0),
       coalesce(deleted_rows, 0), coalesce(newer_rows, 0), coalesce(unchanged_rows, 0)
FROM sinew.batch
WHERE window_id = %(window)s AND state <> 'stale'
ORDER BY id;
