-- Who decided on a phase in a run. A task that is cleared asks again: the last answer stands.
-- Parameters: mapping, phase, run_id, person, decision. Result: none.
INSERT INTO sinew.approval (mapping, phase, run_id, person, decision)
VALUES (%(mapping)s, %(phase)s, %(run_id)s, %(person)s, %(decision)s)
ON CONFLICT (mapping, phase, run_id) DO UPDATE
SET person = excluded.person, decision = excluded.decision, decided_at = now()
