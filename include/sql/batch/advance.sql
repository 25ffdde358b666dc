-- Move a batch to its next state, if this attempt still holds it. No row comes back when another attempt took over.
-- Parameters: id, attempt, state, step, seconds, values (jsonb of columns to set; absent ones stay).
UPDATE sinew.batch AS b
SET state = %(state)s,
    timings = b.timings || jsonb_build_object(%(step)s::text, %(seconds)s::float8),
    source_snapshot = coalesce(v.source_snapshot, b.source_snapshot),
    source_system = coalesce(v.source_system, b.source_system),
    source_lsn = coalesce(v.source_lsn, b.source_lsn),
    read_at = coalesce(v.read_at, b.read_at),
    source_rows = coalesce(v.source_rows, b.source_rows),
    elsewhere_rows = coalesce(v.elsewhere_rows, b.elsewhere_rows),
    staged_rows = coalesce(v.staged_rows, b.staged_rows),
    rejected_rows = coalesce(v.rejected_rows, b.rejected_rows),
    loaded_rows = coalesce(v.loaded_rows, b.loaded_rows),
    kept_rows = coalesce(v.kept_rows, b.kept_rows),
    deleted_rows = coalesce(v.deleted_rows, b.deleted_rows),
    repeated_rows = coalesce(v.repeated_rows, b.repeated_rows),
    newer_rows = coalesce(v.newer_rows, b.newer_rows),
    unchanged_rows = coalesce(v.unchanged_rows, b.unchanged_rows),
    latest_moment = coalesce(v.latest_moment, b.latest_moment),
    bytes = coalesce(v.bytes, b.bytes),
    source_hash = coalesce(v.source_hash, b.source_hash),
    staging_hash = coalesce(v.staging_hash, b.staging_hash),
    target_hash = coalesce(v.target_hash, b.target_hash),
    gate_attempt = coalesce(v.gate_attempt, b.gate_attempt),
    updated_at = now()
FROM jsonb_populate_record(NULL::sinew.batch, %(values)s::jsonb) AS v
WHERE b.id = %(id)s AND b.attempt = %(attempt)s
RETURNING b.id;
