-- Once customers are spoilt: whole customers, and their orders and redemptions, in an order without pattern.
-- Nobody is referred by a spoilt customer yet, so that those who are later were made so on purpose.
-- Parameters: none. Result: none.
UPDATE "CUST_MASTER" SET "REF_NO" = NULL
WHERE "REF_NO" IN (SELECT (source_key->>'HSHD_NO')::integer FROM demo_manifest.defect WHERE entity = 'customers');
INSERT INTO demo_manifest.pick
SELECT 'whole_customers', row_number() OVER (ORDER BY md5(c."HSHD_NO"::text)),
       jsonb_build_object('HSHD_NO', c."HSHD_NO")
FROM "CUST_MASTER" c
WHERE NOT EXISTS (
    SELECT FROM demo_manifest.defect d
    WHERE d.entity = 'customers' AND (d.source_key->>'HSHD_NO')::integer = c."HSHD_NO"
);
INSERT INTO demo_manifest.pick
SELECT 'orders', row_number() OVER (ORDER BY md5(h."BASKET_ID"::text)),
       jsonb_build_object('BASKET_ID', h."BASKET_ID")
FROM "TXN_HDR" h JOIN demo_manifest.pick p
  ON p.entity = 'whole_customers' AND (p.key->>'HSHD_NO')::integer = h."HSHD_NO";
INSERT INTO demo_manifest.pick
SELECT 'redemptions', row_number() OVER (ORDER BY md5(r."RDM_NO"::text)), jsonb_build_object('RDM_NO', r."RDM_NO")
FROM "COUPN_REDM" r JOIN demo_manifest.pick p
  ON p.entity = 'whole_customers' AND (p.key->>'HSHD_NO')::integer = r."HSHD_NO";
