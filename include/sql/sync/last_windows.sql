-- The newest windows of a sync, each with its entities.
-- Parameters: mapping, most. Result: the columns of sinew.engine.window_status.WindowStatus, in their order.
SELECT w.lower, w.upper, w.run_id, w.state, w.created_at, w.completed_at,
       coalesce((
           SELECT jsonb_agg(jsonb_build_object(
               'entity', b.entity, 'state', b.state, 'read', coalesce(b.source_rows, 0),
               'loaded', coalesce(b.loaded_rows, 0), 'rejected', coalesce(b.rejected_rows, 0),
               'deleted', coalesce(b.deleted_rows, 0), 'newer', coalesce(b.newer_rows, 0),
               'unchanged', coalesce(b.unchanged_rows, 0)) ORDER BY b.id)
           FROM sinew.batch AS b
           WHERE b.window_id = w.id AND (b.state <> 'stale' OR w.state = 'superseded')), '[]')
FROM sinew."window" AS w
WHERE w.mapping = %(mapping)s
ORDER BY w.id DESC
LIMIT %(most)s;
