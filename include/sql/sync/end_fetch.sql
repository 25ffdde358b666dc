-- A reading is whole.
-- Parameters: id, records.
UPDATE sinew.fetch SET state = 'complete', cursor = NULL, records = %(records)s, ended_at = now() WHERE id = %(id)s;
