-- The account of each entity in one phase. Parameters: mapping, phase.
-- Result: entity, batches, source, loaded, rejected, kept, elsewhere, deleted rows, bytes, gates passed, failed, seconds.
SELECT
    b.entity,
    count(*),
    coalesce(sum(b.source_rows), 0)::bigint,
    coalesce(sum(b.loaded_rows), 0)::bigint,
    coalesce(sum(b.rejected_rows), 0)::bigint,
    coalesce(sum(b.kept_rows), 0)::bigint,
    coalesce(sum(b.elsewhere_rows), 0)::bigint,
    coalesce(sum(b.deleted_rows), 0)::bigint,
    coalesce(sum(b.bytes), 0)::bigint,
    count(*) FILTER (WHERE g.passed),
    count(*) FILTER (WHERE NOT g.passed),
    coalesce(sum((SELECT sum(t.value::float8) FROM jsonb_each_text(b.timings) AS t)), 0)
FROM sinew.batch AS b
LEFT JOIN sinew.gate AS g ON g.batch_id = b.id AND g.attempt = b.gate_attempt
WHERE b.mapping = %(mapping)s AND b.phase = %(phase)s AND b.state <> 'stale'
GROUP BY b.entity
ORDER BY min(b.id);
