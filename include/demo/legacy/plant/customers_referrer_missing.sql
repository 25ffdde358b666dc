-- Referred by a household that is nowhere.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "REF_NO" = 900000 + t."HSHD_NO"
FROM demo_manifest.pick p
WHERE p.entity = 'whole_customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
