-- The columns of one relation, in their order.
-- Parameter: relation (oid). Result: name, type oid, type modifier, nullable, has_default, generated, identity,
-- deterministic collation.
SELECT
    a.attname,
    a.atttypid::bigint,
    a.atttypmod,
    NOT a.attnotnull AND NOT t.typnotnull,
    a.atthasdef AND a.attgenerated = '',
    a.attgenerated <> '',
    a.attidentity::text,
    coalesce(co.collisdeterministic, true)
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
WHERE a.attrelid = %(relation)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
