-- One relation's oid and kind.
-- Parameters: schema, relation. Result: oid, relkind, rows estimated, bytes; no row when it does not exist.
SELECT c.oid::bigint, c.relkind::text, c.reltuples::bigint, pg_total_relation_size(c.oid)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(relation)s;
