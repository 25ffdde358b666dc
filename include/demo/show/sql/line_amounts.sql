-- What the legacy database says that order lines are worth. Parameters: baskets, lines (two arrays of one length).
-- Result: basket, line, household, cents.
SELECT l."BASKET_ID", l."LINE_NO", l."HSHD_NO", l."SALES_CENTS"
FROM unnest(%(baskets)s::bigint[], %(lines)s::bigint[]) AS asked (basket, line)
JOIN "TXN_LINE" AS l ON l."BASKET_ID" = asked.basket AND l."LINE_NO" = asked.line
ORDER BY 1, 2
