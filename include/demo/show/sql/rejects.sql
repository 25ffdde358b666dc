-- Rejected rows and values by entity and rule. A row that breaks a rule in two columns counts once.
-- Parameters: mapping. Result: entity, scope (row or value), rule, rows.
SELECT j.entity, j.scope, j.rule, count(DISTINCT (j.batch_id, j.source_key))
FROM sinew.reject AS j
JOIN (
    SELECT id, kind <> 'whole' OR id = max(id) OVER (PARTITION BY entity, kind) AS counts
    FROM sinew.batch
    WHERE mapping = %(mapping)s AND state <> 'stale'
) AS b ON b.id = j.batch_id AND b.counts
GROUP BY j.entity, j.scope, j.rule
ORDER BY j.entity, j.scope, j.rule
