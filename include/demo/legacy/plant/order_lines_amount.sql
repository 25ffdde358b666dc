-- Amounts beyond what the new system's money can hold.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "TXN_LINE" t SET "SALES_CENTS" = 9000000000000 + p.n
FROM demo_manifest.pick p
WHERE p.entity = 'order_lines' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."BASKET_ID" = (p.key->>'BASKET_ID')::bigint AND t."LINE_NO" = (p.key->>'LINE_NO')::integer
RETURNING p.key;
