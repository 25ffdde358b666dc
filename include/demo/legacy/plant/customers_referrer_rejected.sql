-- Referred by a household that is itself spoilt.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "REF_NO" = (spoilt.key->>'HSHD_NO')::integer
FROM demo_manifest.pick p JOIN demo_manifest.pick spoilt
  ON spoilt.entity = 'customers' AND spoilt.n = p.n - %(after)s
WHERE p.entity = 'whole_customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
