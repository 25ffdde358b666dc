-- A tier that no list of codes knows.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "LOY_TIER" = 'Q'
FROM demo_manifest.pick p
WHERE p.entity = 'customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
