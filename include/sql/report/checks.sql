-- Every check of the last gate of each batch of one phase. Parameters: mapping, phase.
-- Result: entity, batch id, check as jsonb.
SELECT b.entity, b.id, c.value
FROM sinew.batch AS b
JOIN sinew.gate AS g ON g.batch_id = b.id AND g.attempt = b.gate_attempt
CROSS JOIN LATERAL jsonb_array_elements(g.checks) WITH ORDINALITY AS c (value, n)
WHERE b.mapping = %(mapping)s AND b.phase = %(phase)s AND b.state <> 'stale'
ORDER BY b.id, c.n;
