-- The batch of an entity in a window: the one that the run has, unless its plan changed, or a new one.
-- Parameters: those of the columns, and window. Result: id.
WITH stale AS (
    UPDATE sinew.batch SET state = 'stale', updated_at = now()
    WHERE window_id = %(window)s AND entity = %(entity)s AND state <> 'stale'
      AND entity_fingerprint <> %(entity_fingerprint)s
), found AS (
    SELECT id FROM sinew.batch
    WHERE window_id = %(window)s AND entity = %(entity)s AND state <> 'stale'
      AND entity_fingerprint = %(entity_fingerprint)s
), made AS (
    INSERT INTO sinew.batch (mapping, fingerprint, entity, entity_fingerprint, phase, kind, lower, upper, window_id)
    SELECT %(mapping)s, %(fingerprint)s, %(entity)s, %(entity_fingerprint)s, %(phase)s, %(kind)s, %(lower)s::jsonb,
           %(upper)s::jsonb, %(window)s
    WHERE NOT EXISTS (SELECT FROM found)
    RETURNING id
)
SELECT id FROM found UNION ALL SELECT id FROM made;
