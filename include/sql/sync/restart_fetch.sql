-- Begin a reading from its beginning.
-- Parameter: id.
UPDATE sinew.fetch
SET state = 'begun', cursor = NULL, pages = 0, records = NULL, bookmark = NULL, began_at = now(), asked_at = NULL,
    ended_at = NULL
WHERE id = %(id)s;
