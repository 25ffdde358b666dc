-- A shelf life of centuries.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "PROD_MASTER" t SET "SHLF_DAYS" = 99000 + p.n
FROM demo_manifest.pick p
WHERE p.entity = 'products' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."PROD_ID" = (p.key->>'PROD_ID')::bigint
RETURNING p.key;
