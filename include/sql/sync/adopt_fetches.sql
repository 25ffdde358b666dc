-- Give a window the readings of the newest earlier run over the same time, where the same was asked for.
-- Parameters: window, resources (text[]), fingerprints (text[]).
UPDATE sinew.fetch AS f SET window_id = %(window)s
FROM (
    SELECT DISTINCT ON (e.resource) e.id
    FROM sinew."window" AS w
    JOIN sinew."window" AS o ON o.mapping = w.mapping AND o.upper = w.upper
        AND o.lower IS NOT DISTINCT FROM w.lower AND o.id < w.id
    JOIN sinew.fetch AS e ON e.window_id = o.id AND e.state = 'complete'
    JOIN unnest(%(resources)s::text[], %(fingerprints)s::text[]) AS asked (resource, fingerprint)
        ON asked.resource = e.resource AND asked.fingerprint = e.fingerprint
    WHERE w.id = %(window)s AND NOT EXISTS (
        SELECT FROM sinew.fetch AS own WHERE own.window_id = w.id AND own.resource = e.resource)
    ORDER BY e.resource, e.id DESC
) AS newest
WHERE f.id = newest.id;
