-- Batches that were worked on since a moment. Parameters: mapping, since. Result: one number.
SELECT count(*) FROM sinew.batch WHERE mapping = %(mapping)s AND updated_at > %(since)s AND state <> 'stale'
