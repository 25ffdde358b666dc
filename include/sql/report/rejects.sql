-- Rejects of one phase by entity, column, rule and scope, with a few samples each. Parameters: mapping, phase.
-- Result: entity, column, rule, reason, scope, rows, samples as jsonb [[key, value], …].
SELECT
    entity, column_name, rule, min(reason), scope, count(*),
    jsonb_agg(jsonb_build_array(source_key, value) ORDER BY n) FILTER (WHERE n <= 5)
FROM (
    SELECT
        j.entity, j.column_name, j.rule, j.reason, j.scope, j.value,
        (SELECT string_agg(k.value, ', ' ORDER BY k.key) FROM jsonb_each_text(j.source_key) AS k) AS source_key,
        row_number() OVER (
            PARTITION BY j.entity, j.column_name, j.rule, j.scope ORDER BY j.source_key::text
        ) AS n
    FROM sinew.reject AS j
    JOIN sinew.batch AS b ON b.id = j.batch_id
    WHERE b.mapping = %(mapping)s AND b.phase = %(phase)s AND b.state <> 'stale'
) AS told
GROUP BY entity, column_name, rule, scope
ORDER BY entity, scope, count(*) DESC, column_name, rule;
