-- A campaign that is nowhere.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "COUPN_REDM" t SET "CAMPGN_CD" = 'C98'
FROM demo_manifest.pick p
WHERE p.entity = 'redemptions' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."RDM_NO" = (p.key->>'RDM_NO')::integer
RETURNING p.key;
