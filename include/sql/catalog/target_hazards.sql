-- What changes a target table's rows behind a load: triggers, rules, row security, cascades.
-- Parameters: schema, tables (text[]). Result: table, what, name.
SELECT c.relname, 'trigger', t.tgname
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL
SELECT c.relname, 'row security', c.relname
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relrowsecurity
UNION ALL
SELECT c.relname, 'rule', r.rulename
FROM pg_rewrite AS r
JOIN pg_class AS c ON c.oid = r.ev_class
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND r.rulename <> '_RETURN'
UNION ALL
SELECT c.relname, 'cascading foreign key', o.conname
FROM pg_constraint AS o
JOIN pg_class AS c ON c.oid = o.confrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND o.contype = 'f' AND o.confdeltype IN ('c', 'n', 'd')
ORDER BY 1, 2, 3;
