-- A credit line of a thousand million.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "CRDT_CENTS" = 100000000000 + p.n
FROM demo_manifest.pick p
WHERE p.entity = 'customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
