-- A page was kept: where to go on, and when the first page was asked for.
-- Parameters: id, cursor (jsonb), bookmark, asked_at.
UPDATE sinew.fetch
SET cursor = %(cursor)s::jsonb, pages = pages + 1, bookmark = coalesce(%(bookmark)s, bookmark),
    asked_at = coalesce(asked_at, %(asked_at)s)
WHERE id = %(id)s;
