-- What was compared for one phase. Parameters: mapping, phase. Result: entity (NULL: business check), name, equal, result.
SELECT entity, name, equal, result
FROM sinew.comparison
WHERE mapping = %(mapping)s AND phase = %(phase)s
ORDER BY id;
