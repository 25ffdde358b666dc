-- Remember why a step failed; never changes the state that the data is in.
-- Parameters: id, attempt, error.
UPDATE sinew.batch SET error = %(error)s, updated_at = now() WHERE id = %(id)s AND attempt = %(attempt)s;
