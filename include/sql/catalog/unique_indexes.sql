-- Unique, valid, whole-table indexes over plain columns, primary key first.
-- Parameter: relation (oid). Result: index name, is primary, column names, any column nullable.
SELECT
    c.relname,
    i.indisprimary,
    array_agg(a.attname ORDER BY k.n),
    bool_or(NOT a.attnotnull)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, n)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %(relation)s
  AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY c.relname, i.indisprimary
ORDER BY i.indisprimary DESC, c.relname;
