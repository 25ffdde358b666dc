-- The ledger: what was planned, what was moved, and the evidence for each batch.
-- Applied once, in the order of the files' names; sinew.version records each file in the same transaction.

CREATE SCHEMA IF NOT EXISTS sinew;        -- the ledger
CREATE SCHEMA IF NOT EXISTS sinew_stage;  -- landing and staging tables, one pair a batch
CREATE SCHEMA IF NOT EXISTS sinew_rows;   -- row ledgers, one table an entity

CREATE TABLE sinew.version (
    file       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sinew.mapping (
    name         text NOT NULL,
    fingerprint  text NOT NULL,
    body         jsonb NOT NULL,
    activated_at timestamptz NOT NULL DEFAULT now(),
    active       boolean NOT NULL DEFAULT true,
    swapped_at   timestamptz,              -- when a big bang exchanged the shadow tables with the live ones
    PRIMARY KEY (name, fingerprint)
);
CREATE UNIQUE INDEX mapping_active ON sinew.mapping (name) WHERE active;

-- What the audit learned of an entity's relations when it was last planned; every step works from this.
CREATE TABLE sinew.entity (
    mapping     text NOT NULL,
    entity      text NOT NULL,
    fingerprint text NOT NULL,
    facts       jsonb NOT NULL,
    planned_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (mapping, entity)
);

CREATE TABLE sinew.phase (
    mapping      text NOT NULL,
    name         text NOT NULL,
    position     integer NOT NULL,
    state        text NOT NULL CHECK (state IN ('planned', 'running', 'complete', 'failed')),
    run_id       text,
    started_at   timestamptz,
    completed_at timestamptz,
    PRIMARY KEY (mapping, name)
);

CREATE TABLE sinew.batch (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mapping            text NOT NULL,
    fingerprint        text NOT NULL,      -- of the whole plan
    entity             text NOT NULL,
    entity_fingerprint text NOT NULL,      -- of what concerns this entity; another one makes the batch stale
    phase              text NOT NULL,
    kind               text NOT NULL CHECK (kind IN ('range', 'whole', 'null_keys')),
    lower              jsonb,              -- key values as text, inclusive; NULL: no bound
    upper              jsonb,              -- key values as text, exclusive; NULL: no bound
    state              text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'extracted', 'transformed',
                           'checked', 'gate_failed', 'loaded', 'validated', 'mismatched', 'stale')),
    attempt            integer NOT NULL DEFAULT 0,
    gate_attempt       integer,
    expected_rows      bigint,
    source_snapshot    text,               -- pg_current_snapshot() inside the transaction that read the rows
    source_system      text,               -- system_identifier/timeline/postmaster start of that server
    source_lsn         pg_lsn,             -- insert position of the log, read after the snapshot was taken
    source_rows        bigint,
    elsewhere_rows     bigint,             -- read here, but accounted for by another phase
    staged_rows        bigint,
    rejected_rows      bigint,
    loaded_rows        bigint,
    kept_rows          bigint,             -- the target's own row was kept
    deleted_rows       bigint,             -- vanished from the source since an earlier load
    bytes              bigint,
    source_hash        numeric,
    staging_hash       numeric,
    target_hash        numeric,
    timings            jsonb NOT NULL DEFAULT '{}',   -- seconds a step
    error              text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX batch_by_entity ON sinew.batch (mapping, entity, phase);

CREATE TABLE sinew.gate (
    batch_id     bigint NOT NULL REFERENCES sinew.batch ON DELETE CASCADE,
    attempt      integer NOT NULL,
    staging_hash numeric NOT NULL,
    passed       boolean NOT NULL,
    contract     text NOT NULL,            -- fingerprint of the contract
    checks       jsonb NOT NULL,           -- every check's outcome and value
    samples      jsonb NOT NULL DEFAULT '[]',
    seconds      double precision NOT NULL,
    decided_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, attempt),
    UNIQUE (batch_id, attempt, staging_hash, passed)
);

-- A row here cannot exist without a passed gate of that very attempt and that very data.
CREATE TABLE sinew.promotion (
    batch_id     bigint PRIMARY KEY,
    attempt      integer NOT NULL,
    staging_hash numeric NOT NULL,
    passed       boolean NOT NULL CHECK (passed),
    promoted_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (batch_id, attempt, staging_hash, passed)
        REFERENCES sinew.gate (batch_id, attempt, staging_hash, passed)
);

-- A row, or one value of a row, that was kept out of the target, and why. Values of personal columns are masked.
CREATE TABLE sinew.reject (
    batch_id    bigint NOT NULL REFERENCES sinew.batch ON DELETE CASCADE,
    mapping     text NOT NULL,
    entity      text NOT NULL,
    source_key  jsonb NOT NULL,
    source_hash bigint,
    scope       text NOT NULL CHECK (scope IN ('row', 'value')),
    column_name text NOT NULL,
    rule        text NOT NULL,
    reason      text NOT NULL,
    value       text
);
CREATE INDEX reject_by_batch ON sinew.reject (batch_id);
CREATE INDEX reject_by_entity ON sinew.reject (mapping, entity);

-- Source rows that lose a unique value of the target to a row with a smaller key, found over the whole source.
CREATE TABLE sinew.duplicate (
    mapping    text NOT NULL,
    entity     text NOT NULL,
    column_name text NOT NULL,
    source_key jsonb NOT NULL,
    PRIMARY KEY (mapping, entity, column_name, source_key)
);

CREATE TABLE sinew.comparison (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mapping     text NOT NULL,
    phase       text NOT NULL,
    entity      text,                      -- NULL for a business check
    name        text NOT NULL,
    equal       boolean NOT NULL,
    result      jsonb NOT NULL,
    compared_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sinew.report (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mapping    text NOT NULL,
    phase      text NOT NULL,
    run_id     text NOT NULL,
    html       text NOT NULL,
    body       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sinew.approval (
    mapping    text NOT NULL,
    phase      text NOT NULL,
    run_id     text NOT NULL,
    person     text NOT NULL,
    decision   text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (mapping, phase, run_id)
);
