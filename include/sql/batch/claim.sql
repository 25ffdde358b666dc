-- Claim a batch for one step: every claim has its own number, and only its holder can commit.
-- NO KEY: a zombie's rejects hold the row's key, and a claim must not wait for a zombie.
-- Parameter: id. Result: attempt.
UPDATE sinew.batch AS b
SET attempt = b.attempt + 1, updated_at = now(), error = NULL
FROM (SELECT id FROM sinew.batch WHERE id = %(id)s FOR NO KEY UPDATE) AS old
WHERE b.id = old.id
RETURNING b.attempt;
