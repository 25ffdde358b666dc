-- A store that is nowhere.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "TXN_HDR" t SET "STORE_CD" = 'S99' || lpad((p.n %% 1000)::text, 3, '0')
FROM demo_manifest.pick p
WHERE p.entity = 'orders' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."BASKET_ID" = (p.key->>'BASKET_ID')::bigint
RETURNING p.key;
