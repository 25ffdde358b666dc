-- One phase. Parameters: mapping, phase. Result: position, state, started, completed, fingerprint of the active mapping.
SELECT p.position, p.state, p.started_at, p.completed_at, m.fingerprint
FROM sinew.phase AS p
JOIN sinew.mapping AS m ON m.name = p.mapping AND m.active
WHERE p.mapping = %(mapping)s AND p.name = %(phase)s;
