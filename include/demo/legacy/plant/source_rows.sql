-- The rows that each entity of the migration reads.
-- Parameters: none. Result: entity, rows.
SELECT entity, rows
FROM (
    SELECT 1 AS place, 'customers' AS entity, count(*) AS rows FROM "CUST_MASTER"
    UNION ALL SELECT 2, 'customer_profiles', count(*) FROM "CUST_MASTER" WHERE "INCOME_RNG" IS NOT NULL
    UNION ALL SELECT 3, 'stores', count(*) FROM "STORE_MASTER"
    UNION ALL SELECT 4, 'products', count(*) FROM "PROD_MASTER"
    UNION ALL SELECT 5, 'campaigns', count(*) FROM "CAMPGN"
    UNION ALL SELECT 6, 'campaign_customers', count(*) FROM "CAMPGN_HH"
    UNION ALL SELECT 7, 'coupons', count(*) FROM (SELECT DISTINCT "COUPN_UPC", "CAMPGN_CD" FROM "COUPN") AS pairs
    UNION ALL SELECT 8, 'orders', count(*) FROM "TXN_HDR"
    UNION ALL SELECT 9, 'order_lines', count(*) FROM "TXN_LINE"
    UNION ALL SELECT 10, 'redemptions', count(*) FROM "COUPN_REDM"
    UNION ALL SELECT 11, 'notes', count(*) FROM "CUST_NOTE"
) AS counted
ORDER BY place;
