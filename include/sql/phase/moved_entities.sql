-- Entities of which a phase has nothing left to do, by the active plan.
-- Parameters: mapping, phase. Result: entity.
SELECT entity
FROM sinew.batch
WHERE mapping = %(mapping)s AND phase = %(phase)s
GROUP BY entity
HAVING bool_and(state IN ('validated', 'stale')) AND bool_or(state = 'validated')
ORDER BY entity
