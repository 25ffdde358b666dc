-- Dates that no calendar has.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "TXN_HDR" t SET "TXN_DT" = (ARRAY['20171332', '20170230', '2017    '])[1 + p.n %% 3]
FROM demo_manifest.pick p
WHERE p.entity = 'orders' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."BASKET_ID" = (p.key->>'BASKET_ID')::bigint
RETURNING p.key;
