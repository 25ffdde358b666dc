-- Dates that no calendar has.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "JOIN_DT" = (ARRAY['20230231', '20231315', '2023O101', '00000000'])[1 + p.n %% 4]
FROM demo_manifest.pick p
WHERE p.entity = 'customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
