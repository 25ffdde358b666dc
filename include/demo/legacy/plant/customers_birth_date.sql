-- A birth date that no calendar has; the new system may do without one.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "BIRTH_DT" = '19801345'
FROM demo_manifest.pick p
WHERE p.entity = 'whole_customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
