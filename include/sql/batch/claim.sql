-- Claim a batch for one step: every claim has its own number, and only its holder can commit.
-- Parameter: id. Result: attempt, state and all that the steps need of the batch.
UPDATE sinew.batch AS b
SET attempt = b.attempt + 1, updated_at = now(), error = NULL
FROM (SELECT id, state FROM sinew.batch WHERE id = %(id)s FOR UPDATE) AS old
WHERE b.id = old.id
RETURNING b.attempt;
