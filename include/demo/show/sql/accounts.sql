-- The account of each entity over all phases, parents before children.
-- Of an entity without a key each phase moves all rows that are chosen so far: the newest batch has taken over
-- what earlier ones moved. Parameters: mapping. Result: entity, batches, rows of the source, loaded, rejected, kept, gates passed, batches
-- without a passed gate, seconds of work, differences that the comparisons named, comparisons, comparisons that hold.
SELECT
    b.entity,
    b.batches,
    b.source_rows,
    b.loaded,
    b.rejected,
    b.kept,
    b.gates,
    b.batches - b.gates,
    b.seconds,
    coalesce(c.differences, 0)::bigint,
    coalesce(c.comparisons, 0),
    coalesce(c.holding, 0)
FROM (
    SELECT
        b.entity,
        min(b.id) AS first,
        count(*) AS batches,
        coalesce(sum(b.source_rows - coalesce(b.elsewhere_rows, 0)) FILTER (WHERE b.counts), 0)::bigint
            AS source_rows,
        coalesce(sum(b.loaded_rows) FILTER (WHERE b.counts), 0)::bigint AS loaded,
        coalesce(sum(b.rejected_rows) FILTER (WHERE b.counts), 0)::bigint AS rejected,
        coalesce(sum(b.kept_rows) FILTER (WHERE b.counts), 0)::bigint AS kept,
        count(p.batch_id) AS gates,
        coalesce(sum((SELECT sum(t.value::float8) FROM jsonb_each_text(b.timings) AS t)), 0)::float8
            AS seconds
    FROM (
        SELECT *, kind <> 'whole' OR id = max(id) OVER (PARTITION BY entity, kind) AS counts
        FROM sinew.batch
        WHERE mapping = %(mapping)s AND state <> 'stale'
    ) AS b
    LEFT JOIN sinew.promotion AS p ON p.batch_id = b.id
    GROUP BY b.entity
) AS b
LEFT JOIN (
    SELECT
        entity,
        count(*) AS comparisons,
        count(*) FILTER (WHERE equal) AS holding,
        sum(CASE WHEN equal THEN 0 ELSE greatest(1, jsonb_array_length(result -> 'differences')) END)
            AS differences
    FROM sinew.comparison
    WHERE mapping = %(mapping)s AND entity IS NOT NULL
    GROUP BY entity
) AS c ON c.entity = b.entity
ORDER BY b.first
