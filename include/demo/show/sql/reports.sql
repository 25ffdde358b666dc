-- The newest report of each phase. Parameters: mapping. Result: phase, number of the report.
SELECT p.name, max(r.id)
FROM sinew.phase AS p
JOIN sinew.report AS r ON r.mapping = p.mapping AND r.phase = p.name
WHERE p.mapping = %(mapping)s
GROUP BY p.name, p.position
ORDER BY p.position
