-- Earlier runs over the same window that were never finished give way to this one.
-- Parameters: id, mapping, lower, upper.
WITH earlier AS (
    UPDATE sinew."window" SET state = 'superseded'
    WHERE mapping = %(mapping)s AND upper = %(upper)s AND lower IS NOT DISTINCT FROM %(lower)s::timestamptz
      AND id < %(id)s AND state = 'running'
    RETURNING id
)
UPDATE sinew.batch SET state = 'stale', updated_at = now()
WHERE window_id IN (SELECT id FROM earlier) AND state <> 'validated';
