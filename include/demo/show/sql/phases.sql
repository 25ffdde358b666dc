-- The phases of a migration in their order, with their batches.
-- Parameters: mapping. Result: phase, state, batches by state (jsonb), rows planned (before a batch is read, as many as
-- were counted when it was cut), rows moved (a rejected row is moved out of the way), rows worked on (a row counts by a fifth for each of the five steps that it has behind it).
SELECT
    p.name,
    p.state,
    coalesce(jsonb_object_agg(b.state, b.batches) FILTER (WHERE b.state IS NOT NULL), '{}'),
    coalesce(sum(b.planned), 0)::bigint,
    coalesce(sum(b.moved), 0)::bigint,
    coalesce(sum(b.planned * b.steps / 5.0), 0)::float8
FROM sinew.phase AS p
LEFT JOIN (
    SELECT
        phase,
        state,
        count(*) AS batches,
        sum(coalesce(source_rows - coalesce(elsewhere_rows, 0), expected_rows, 0)) AS planned,
        sum(coalesce(source_rows - coalesce(elsewhere_rows, 0), 0))
            FILTER (WHERE state IN ('loaded', 'validated')) AS moved,
        coalesce(array_position(
            ARRAY['planned', 'extracted', 'transformed', 'checked', 'loaded', 'validated'], state
        ) - 1, 0) AS steps
    FROM sinew.batch
    WHERE mapping = %(mapping)s AND state <> 'stale'
    GROUP BY phase, state
) AS b ON b.phase = p.name
WHERE p.mapping = %(mapping)s
GROUP BY p.name, p.state, p.position
ORDER BY p.position
