-- How far a run has read: to its newest row or, where rows do not tell, to when it began to ask. Never beyond that:
-- of two rows that change while pages are read, the newer may lie on a page to come, the older on one that has passed.
-- It never goes back. Parameters: mapping, name, entity, window, by_rows.
INSERT INTO sinew.position AS p (mapping, name, moment, bookmark)
SELECT %(mapping)s, %(name)s,
    CASE WHEN NOT %(by_rows)s OR b.latest_moment > f.asked_at THEN f.asked_at ELSE b.latest_moment END, f.bookmark
FROM sinew.batch AS b
LEFT JOIN sinew.fetch AS f ON f.window_id = b.window_id AND f.resource = %(name)s
WHERE b.window_id = %(window)s AND b.entity = %(entity)s AND b.state = 'validated'
ON CONFLICT (mapping, name) DO UPDATE
SET moment = greatest(p.moment, excluded.moment), bookmark = coalesce(excluded.bookmark, p.bookmark), set_at = now();
