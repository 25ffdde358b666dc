-- The rejected order lines with their first reason. Parameters: mapping. Result: basket, line, rule, reason.
SELECT DISTINCT ON (1, 2)
    (j.source_key ->> 'BASKET_ID')::bigint, (j.source_key ->> 'LINE_NO')::bigint, j.rule, j.reason
FROM sinew.reject AS j
JOIN sinew.batch AS b ON b.id = j.batch_id
WHERE b.mapping = %(mapping)s AND b.state <> 'stale' AND j.entity = 'order_lines' AND j.scope = 'row'
ORDER BY 1, 2, 3
