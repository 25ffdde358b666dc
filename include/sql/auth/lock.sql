-- Lock a token until the transaction ends. A row lock, not an advisory one of the session: it holds under
-- PgBouncer in transaction mode too, and a killed process gives it back with its connection.
-- Parameter: key. Result: version, body, age in seconds.
SELECT version, body, extract(epoch FROM clock_timestamp() - saved_at)::double precision AS age
FROM sinew_auth.token
WHERE key = %(key)s
FOR UPDATE
