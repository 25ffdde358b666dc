-- Forget what was read for a batch's window up to when the batch was read, so that it is asked for anew.
-- Parameter: id, the batch's.
UPDATE sinew.fetch AS f SET state = 'begun', cursor = NULL
FROM sinew.batch AS b
WHERE b.id = %(id)s AND f.window_id = b.window_id AND f.began_at <= b.read_at;
