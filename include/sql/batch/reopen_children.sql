-- Batches with rows or values that want a parent are done again when a batch of that parent is, or was since.
-- Parameters: mapping, entity, phase, first_phase (of entities that move whole), parents and columns (text[]) of the
-- references that are resolved while a batch is transformed.
UPDATE sinew.batch AS b
SET state = 'planned', updated_at = now()
WHERE b.mapping = %(mapping)s AND b.entity = %(entity)s AND b.phase = %(phase)s AND b.state = 'validated'
  AND EXISTS (
      SELECT FROM sinew.batch AS p
      WHERE p.mapping = b.mapping AND p.entity = ANY(%(parents)s) AND p.phase IN (b.phase, %(first_phase)s)
        AND p.state <> 'stale' AND (p.state <> 'validated' OR p.updated_at > b.updated_at)
  )
  AND EXISTS (
      SELECT FROM sinew.reject AS j
      WHERE j.batch_id = b.id AND j.column_name = ANY(%(columns)s) AND j.rule IN ('parent_rejected', 'orphan')
  );
