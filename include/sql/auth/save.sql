-- Keep a token (body NULL: forget it), unless somebody else saved one since the lock was taken: that can only
-- be when the connection that held the lock was lost. The same body again is the same save, tried twice.
-- Parameters: key, version (as locked), body. Result: one row when it is kept.
INSERT INTO sinew_auth.token AS t (key, version, body)
VALUES (%(key)s, %(version)s::bigint + 1, %(body)s)
ON CONFLICT (key) DO UPDATE
SET version = excluded.version, body = excluded.body, saved_at = clock_timestamp()
WHERE t.version = %(version)s::bigint OR (t.version = excluded.version AND t.body IS NOT DISTINCT FROM excluded.body)
RETURNING version
