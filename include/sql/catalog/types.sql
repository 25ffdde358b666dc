-- Types by oid and modifier.
-- Parameters: oids (bigint[]), modifiers (int[]), of equal length. Result, in that order: format_type, typname, typtype,
-- typcategory, modifier, builtin, base oid and base modifier of a domain (or 0), element oid of an array (or 0).
SELECT
    pg_catalog.format_type(t.oid, want.modifier),
    t.typname,
    t.typtype::text,
    t.typcategory::text,
    want.modifier,
    t.oid < 16384,
    t.typbasetype::bigint,
    t.typtypmod,
    CASE WHEN t.typcategory = 'A' THEN t.typelem::bigint ELSE 0 END
FROM unnest(%(oids)s::bigint[], %(modifiers)s::int[]) WITH ORDINALITY AS want (oid, modifier, n)
JOIN pg_type AS t ON t.oid = want.oid::oid
ORDER BY want.n;
