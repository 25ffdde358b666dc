-- Cents of all lines, and of the lines that are rejected: spoilt themselves, or of a spoilt order or customer.
-- Parameters: none. Result: one row: all cents, rejected cents.
SELECT sum(l."SALES_CENTS")::bigint,
       coalesce(sum(l."SALES_CENTS") FILTER (WHERE b.basket IS NOT NULL OR d.id IS NOT NULL), 0)::bigint
FROM "TXN_LINE" l
LEFT JOIN demo_manifest.bad_order b ON b.basket = l."BASKET_ID"
LEFT JOIN demo_manifest.defect d ON d.entity = 'order_lines'
  AND (d.source_key->>'BASKET_ID')::bigint = l."BASKET_ID" AND (d.source_key->>'LINE_NO')::integer = l."LINE_NO";
