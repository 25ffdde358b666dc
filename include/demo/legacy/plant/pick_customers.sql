-- Households to spoil: those with few baskets, so that few rows depend on them, and among these first the ones with
-- redemptions and a profile. The three smallest numbers stay whole: one of them can always be the winner of a
-- duplicate.
-- Parameters: none. Result: none.
CREATE TABLE demo_manifest.pick (entity text, n integer, key jsonb, PRIMARY KEY (entity, n));
INSERT INTO demo_manifest.pick
SELECT 'customers',
       row_number() OVER (
           ORDER BY count(h."BASKET_ID") > 25,
                    NOT EXISTS (SELECT FROM "COUPN_REDM" r WHERE r."HSHD_NO" = c."HSHD_NO"),
                    count(h."BASKET_ID") > 10, c."INCOME_RNG" IS NULL, count(h."BASKET_ID"), c."HSHD_NO"
       ),
       jsonb_build_object('HSHD_NO', c."HSHD_NO")
FROM "CUST_MASTER" c LEFT JOIN "TXN_HDR" h ON h."HSHD_NO" = c."HSHD_NO"
WHERE c."HSHD_NO" NOT IN (SELECT "HSHD_NO" FROM "CUST_MASTER" ORDER BY 1 LIMIT 3)
GROUP BY c."HSHD_NO";
-- Products that nothing sells and no coupon names: no row depends on them.
INSERT INTO demo_manifest.pick
SELECT 'products', row_number() OVER (ORDER BY md5(p."PROD_ID"::text)), jsonb_build_object('PROD_ID', p."PROD_ID")
FROM "PROD_MASTER" p
WHERE NOT EXISTS (SELECT FROM "TXN_LINE" l WHERE l."PROD_ID" = p."PROD_ID")
  AND NOT EXISTS (SELECT FROM "COUPN" k WHERE k."PROD_ID" = p."PROD_ID");
