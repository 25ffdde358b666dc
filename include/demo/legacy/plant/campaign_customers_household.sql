-- Campaigns sent to households that are nowhere.
-- Parameters: after, count (after is not used). Result: the source key of each new row.
INSERT INTO "CAMPGN_HH"
SELECT 'C01', 900000 + n + %(after)s * 0, 'MAIL' FROM generate_series(1, %(count)s) AS n
RETURNING jsonb_build_object('CAMPGN_CD', "CAMPGN_CD", 'HSHD_NO', "HSHD_NO");
