-- What would stay attached to a table when it is renamed away and cannot simply be made again.
-- Parameters: schema, relation, moved (text[]: the tables that move together). Result: what, name.
WITH live AS (
    SELECT c.oid, c.relkind, c.relispartition, c.relrowsecurity
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(relation)s
)
SELECT 'view', v.oid::regclass::text
FROM live
JOIN pg_depend AS d ON d.refobjid = live.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite AS r ON r.oid = d.objid
JOIN pg_class AS v ON v.oid = r.ev_class AND v.oid <> live.oid
UNION
SELECT 'foreign key', o.conname
FROM live
JOIN pg_constraint AS o ON o.confrelid = live.oid AND o.contype = 'f'
JOIN pg_class AS c ON c.oid = o.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT (n.nspname = %(schema)s AND c.relname = ANY(%(moved)s))
UNION
SELECT 'row security policy', p.polname
FROM live
JOIN pg_policy AS p ON p.polrelid = live.oid
UNION
SELECT 'rule', r.rulename
FROM live
JOIN pg_rewrite AS r ON r.ev_class = live.oid AND r.rulename <> '_RETURN'
UNION
SELECT 'replica identity by index', i.indexrelid::regclass::text
FROM live
JOIN pg_index AS i ON i.indrelid = live.oid AND i.indisreplident
UNION
SELECT 'partitioning or inheritance', i.inhrelid::regclass::text
FROM live
JOIN pg_inherits AS i ON i.inhparent = live.oid OR i.inhrelid = live.oid
ORDER BY 1, 2;
