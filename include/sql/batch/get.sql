-- One batch, as the steps see it.
-- Parameter: id. Result: the columns of sinew.engine.batch.Batch, in their order.
SELECT id, mapping, fingerprint, entity, entity_fingerprint, phase, kind, lower, upper, state, attempt, gate_attempt,
       source_snapshot, source_rows, elsewhere_rows, staged_rows, rejected_rows, source_hash, staging_hash,
       window_id
FROM sinew.batch
WHERE id = %(id)s;
