-- Whole customers who were sent a campaign that is nowhere.
-- Parameters: after, count (which picks take part). Result: the source key of each new row.
INSERT INTO "CAMPGN_HH"
SELECT 'C99', (p.key->>'HSHD_NO')::integer, 'MAIL'
FROM demo_manifest.pick p
WHERE p.entity = 'whole_customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
RETURNING jsonb_build_object('CAMPGN_CD', "CAMPGN_CD", 'HSHD_NO', "HSHD_NO");
