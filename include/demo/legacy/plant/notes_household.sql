-- Notes on households that are nowhere.
-- Parameters: after, count (after is not used). Result: columns that single out each new row; the table has no key.
INSERT INTO "CUST_NOTE"
SELECT 950000 + n + %(after)s * 0, '2016-02-29 12:00:00+00', 'P', 'Nobody', 'No such household', '{}'
FROM generate_series(1, %(count)s) AS n
RETURNING jsonb_build_object('HSHD_NO', "HSHD_NO");
