-- What every household has spent in the old system, also those that have spent nothing.
-- Parameters: none. Result: customer (HSHD_NO), lifetime_value in dollars.
SELECT c."HSHD_NO" AS customer, coalesce(s.cents, 0) / 100.0 AS lifetime_value
FROM public."CUST_MASTER" c
LEFT JOIN (
    SELECT "HSHD_NO", sum("SALES_CENTS") AS cents FROM public."TXN_LINE" GROUP BY "HSHD_NO"
) s ON s."HSHD_NO" = c."HSHD_NO"
