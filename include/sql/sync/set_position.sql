-- How far a run has read: to its newest row or, where rows do not tell, to when it began to ask. Never beyond that:
-- of two rows that change while pages are read, the newer may lie on a page to come, the older on one that has passed.
-- It never goes back. Parameters: mapping, name, window, and entities (text[]), whose rows tell the moment; none: no
-- rows do.
INSERT INTO sinew.position AS p (mapping, name, moment, bookmark)
SELECT %(mapping)s, %(name)s,
       CASE WHEN %(entities)s::text[] = '{}' OR b.moment > f.asked_at THEN f.asked_at ELSE b.moment END,
       -- A run that is closed after one that asked later has an older bookmark.
       CASE WHEN NOT EXISTS (
           SELECT FROM sinew.fetch AS o JOIN sinew."window" AS w ON w.id = o.window_id
           WHERE o.mapping = %(mapping)s AND o.resource = %(name)s AND o.asked_at > f.asked_at
             AND w.state = 'complete') THEN f.bookmark END
-- Where several tell, each may lack what another has seen.
FROM (SELECT min(latest_moment) AS moment FROM sinew.batch
      WHERE window_id = %(window)s AND entity = ANY(%(entities)s) AND state = 'validated') AS b
LEFT JOIN sinew.fetch AS f ON f.window_id = %(window)s AND f.resource = %(name)s
ON CONFLICT (mapping, name) DO UPDATE
SET moment = greatest(p.moment, excluded.moment), bookmark = coalesce(excluded.bookmark, p.bookmark), set_at = now();
