-- Addresses without an at sign, with two, or with a blank inside.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "EMAIL_ADDR" = format(
    (ARRAY['nobody.%%s.example.com', 'a@b@%%s.example.com', 'no one@%%s.example.com'])[1 + p.n %% 3], t."HSHD_NO"
)
FROM demo_manifest.pick p
WHERE p.entity = 'customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
