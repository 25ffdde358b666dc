-- The phases of a migration in their order, with the batches of each by state.
-- Parameters: mapping. Result: phase, state, completed_at, batches (jsonb: state to number), rows loaded, rows
-- rejected, the newest report's id or NULL.
SELECT p.name, p.state, p.completed_at,
       coalesce((SELECT jsonb_object_agg(b.state, b.n ORDER BY b.state)
                 FROM (SELECT state, count(*) AS n FROM sinew.batch
                       WHERE mapping = p.mapping AND phase = p.name AND state <> 'stale'
                       GROUP BY state) AS b), '{}') AS batches,
       t.loaded, t.rejected,
       (SELECT max(r.id) FROM sinew.report AS r WHERE r.mapping = p.mapping AND r.phase = p.name) AS report
FROM sinew.phase AS p
CROSS JOIN LATERAL (SELECT coalesce(sum(loaded_rows), 0)::bigint AS loaded,
                           coalesce(sum(rejected_rows), 0)::bigint AS rejected
                    FROM sinew.batch
                    WHERE mapping = p.mapping AND phase = p.name AND state <> 'stale') AS t
WHERE p.mapping = %(mapping)s
ORDER BY p.position
