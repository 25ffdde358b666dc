-- Make the row that carries a token's lock. A second process waits here for the first one's commit.
-- Parameter: key. Result: none.
INSERT INTO sinew_auth.token (key) VALUES (%(key)s) ON CONFLICT (key) DO NOTHING
