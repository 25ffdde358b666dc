-- Readings whose records are kept long enough.
-- Parameters: mapping, age (interval). Result: id.
SELECT f.id
FROM sinew.fetch AS f JOIN sinew."window" AS w ON w.id = f.window_id
WHERE f.mapping = %(mapping)s AND f.state <> 'dropped' AND w.state <> 'running'
  AND coalesce(f.ended_at, f.began_at) < now() - %(age)s::interval;
