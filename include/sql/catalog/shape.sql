-- What a table looks like: its columns, its constraints but foreign keys, and its indexes, without their names.
-- Parameters: schema, relation. Result: kind, definition; in an order that does not depend on names.
WITH it AS (
    SELECT c.oid
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(relation)s
)
SELECT 'column', pg_catalog.concat_ws(
    ' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation,
    CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END
)
FROM it
JOIN pg_attribute AS a ON a.attrelid = it.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT 'constraint', pg_get_constraintdef(o.oid)
FROM it
JOIN pg_constraint AS o ON o.conrelid = it.oid AND o.contype <> 'f'
UNION ALL
SELECT 'index', substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$')
FROM it
JOIN pg_index AS i ON i.indrelid = it.oid
ORDER BY 1, 2;
