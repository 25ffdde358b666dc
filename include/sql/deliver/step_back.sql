-- Let the next run read from a moment on that an earlier one has read already.
-- Parameters: mapping, name, moment.
UPDATE sinew.position SET moment = least(moment, %(moment)s::timestamptz), set_at = now()
WHERE mapping = %(mapping)s AND name = %(name)s;
