-- The rows that fall with a spoilt one: what refers to it, and what refers to that. One row a defect and entity.
-- Parameters: none. Result: none.
CREATE TABLE demo_manifest.bad_order AS
SELECT d.id, (d.source_key->>'BASKET_ID')::bigint AS basket
FROM demo_manifest.defect d WHERE d.entity = 'orders' AND d.scope = 'row'
UNION ALL
SELECT d.id, h."BASKET_ID"
FROM demo_manifest.defect d JOIN "TXN_HDR" h ON h."HSHD_NO" = (d.source_key->>'HSHD_NO')::integer
WHERE d.entity = 'customers' AND d.scope = 'row';

CREATE TABLE demo_manifest.dependant AS
WITH bad_customer AS (
    SELECT id, (source_key->>'HSHD_NO')::integer AS household
    FROM demo_manifest.defect WHERE entity = 'customers' AND scope = 'row'
), bad_product AS (
    SELECT id, (source_key->>'PROD_ID')::bigint AS product
    FROM demo_manifest.defect WHERE entity = 'products' AND scope = 'row'
), fallen AS (
    SELECT b.id, 'customer_profiles' AS entity
    FROM bad_customer b JOIN "CUST_MASTER" t ON t."HSHD_NO" = b.household WHERE t."INCOME_RNG" IS NOT NULL
    UNION ALL
    SELECT b.id, 'orders' FROM bad_customer b JOIN "TXN_HDR" t ON t."HSHD_NO" = b.household
    UNION ALL
    SELECT b.id, 'campaign_customers' FROM bad_customer b JOIN "CAMPGN_HH" t ON t."HSHD_NO" = b.household
    UNION ALL
    SELECT b.id, 'redemptions' FROM bad_customer b JOIN "COUPN_REDM" t ON t."HSHD_NO" = b.household
    UNION ALL
    SELECT b.id, 'notes' FROM bad_customer b JOIN "CUST_NOTE" t ON t."HSHD_NO" = b.household
    UNION ALL
    SELECT b.id, 'order_lines' FROM demo_manifest.bad_order b JOIN "TXN_LINE" t ON t."BASKET_ID" = b.basket
    UNION ALL
    SELECT b.id, 'order_lines' FROM bad_product b JOIN "TXN_LINE" t ON t."PROD_ID" = b.product
)
SELECT id, entity, count(*)::integer AS rows FROM fallen GROUP BY id, entity;
