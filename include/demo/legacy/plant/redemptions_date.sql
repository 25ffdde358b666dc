-- A date that no calendar has.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "COUPN_REDM" t SET "RDM_DT" = '02/30/2017'
FROM demo_manifest.pick p
WHERE p.entity = 'redemptions' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."RDM_NO" = (p.key->>'RDM_NO')::integer
RETURNING p.key;
