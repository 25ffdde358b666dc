-- A token without its lock.
-- Parameter: key. Result: body, age in seconds.
SELECT body, extract(epoch FROM clock_timestamp() - saved_at)::double precision AS age
FROM sinew_auth.token
WHERE key = %(key)s AND body IS NOT NULL
