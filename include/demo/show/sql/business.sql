-- The business checks of a migration, as of the last phase that made each: it asks about all rows moved so far.
-- Parameters: mapping. Result: name, whether it holds in every phase, keys asked about, keys answered, differences, rejected rows,
-- totals by column (jsonb: a list of {column, source, rejected, target}, amounts as text).
SELECT DISTINCT ON (c.name)
    c.name,
    bool_and(c.equal) OVER (PARTITION BY c.name),
    (c.result ->> 'asked')::bigint,
    (c.result ->> 'answered')::bigint,
    (c.result ->> 'difference_count')::bigint,
    (c.result ->> 'rejected_count')::bigint,
    c.result -> 'totals'
FROM sinew.comparison AS c
JOIN sinew.phase AS p ON p.mapping = c.mapping AND p.name = c.phase
WHERE c.mapping = %(mapping)s AND c.entity IS NULL
ORDER BY c.name, p.position DESC
