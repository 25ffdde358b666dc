-- The window of a run: the one that it has, or a new one.
-- Parameters: mapping, lower, upper, run_id. Result: id.
WITH found AS (
    SELECT id FROM sinew."window"
    WHERE mapping = %(mapping)s AND run_id = %(run_id)s AND upper = %(upper)s
      AND lower IS NOT DISTINCT FROM %(lower)s::timestamptz
), made AS (
    INSERT INTO sinew."window" (mapping, lower, upper, run_id)
    SELECT %(mapping)s, %(lower)s::timestamptz, %(upper)s, %(run_id)s WHERE NOT EXISTS (SELECT FROM found)
    RETURNING id
)
SELECT id FROM found UNION ALL SELECT id FROM made;
