-- Quantities beyond four bytes.
-- Parameters: after, count (which picks to spoil). Result: the source key of each spoilt row.
UPDATE "TXN_LINE" t SET "QTY" = 3000000000 + p.n
FROM demo_manifest.pick p
WHERE p.entity = 'order_lines' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."BASKET_ID" = (p.key->>'BASKET_ID')::bigint AND t."LINE_NO" = (p.key->>'LINE_NO')::integer
RETURNING p.key;
