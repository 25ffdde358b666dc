-- Who decided about one phase. Parameters: mapping, phase. Result: person, decision, when.
SELECT person, decision, decided_at
FROM sinew.approval
WHERE mapping = %(mapping)s AND phase = %(phase)s
ORDER BY decided_at;
