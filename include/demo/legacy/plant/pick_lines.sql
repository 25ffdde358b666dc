-- Once orders are spoilt: the first line of each of 2,000 whole orders.
-- Parameters: none. Result: none.
INSERT INTO demo_manifest.pick
SELECT 'order_lines', row_number() OVER (ORDER BY p.n),
       jsonb_build_object('BASKET_ID', p.key->'BASKET_ID', 'LINE_NO', 1)
FROM demo_manifest.pick p
WHERE p.entity = 'orders'
  AND NOT EXISTS (SELECT FROM demo_manifest.defect d WHERE d.entity = 'orders' AND d.source_key = p.key)
ORDER BY p.n
LIMIT 2000;
