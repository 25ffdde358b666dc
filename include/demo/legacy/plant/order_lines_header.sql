-- Lines whose basket is nowhere; the till lost the household as well.
-- Parameters: after, count (after is not used). Result: the source key of each new row.
INSERT INTO "TXN_LINE"
SELECT 99000000000 + n + %(after)s * 0, 1, NULL, (SELECT min("PROD_ID") FROM "TXN_LINE"), 1, 100 + n, 0, 0, 0, 'N'
FROM generate_series(1, %(count)s) AS n
RETURNING jsonb_build_object('BASKET_ID', "BASKET_ID", 'LINE_NO', "LINE_NO");
