-- The coupons of every campaign; the old system has one row for each product that a coupon is good for.
-- Parameters: none. Result: COUPN_UPC, CAMPGN_CD, product_count, product_ids in ascending order.
SELECT "COUPN_UPC", "CAMPGN_CD", count(*)::integer AS product_count,
       array_agg("PROD_ID" ORDER BY "PROD_ID") AS product_ids
FROM public."COUPN"
GROUP BY "COUPN_UPC", "CAMPGN_CD"
