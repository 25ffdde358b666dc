-- How often every household was at a till of the old system.
-- Parameters: none. Result: customer (HSHD_NO), orders.
SELECT c."HSHD_NO" AS customer, count(h."BASKET_ID") AS orders
FROM public."CUST_MASTER" c LEFT JOIN public."TXN_HDR" h ON h."HSHD_NO" = c."HSHD_NO"
GROUP BY c."HSHD_NO"
