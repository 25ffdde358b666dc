-- Every planted defect with the number of rows that fall with it.
-- Parameters: none. Result: entity, source_key, kind, column_name, rule, scope, dependants.
SELECT d.entity, d.source_key, d.kind, d.column_name, d.rule, d.scope, coalesce(sum(f.rows), 0)::integer
FROM demo_manifest.defect d LEFT JOIN demo_manifest.dependant f ON f.id = d.id
GROUP BY d.id
ORDER BY d.id;
