-- The manifest's own schema; no part of the legacy system and never migrated.
-- Parameters: none. Result: none.
CREATE SCHEMA demo_manifest;
CREATE TABLE demo_manifest.build (
    fingerprint text PRIMARY KEY,
    body jsonb NOT NULL,
    built_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE demo_manifest.defect (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL,
    source_key jsonb NOT NULL,
    kind text NOT NULL,
    column_name text NOT NULL,
    rule text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('row', 'value')),
    UNIQUE (entity, source_key)
);
