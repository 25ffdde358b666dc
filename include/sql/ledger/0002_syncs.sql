-- Syncs: windows, what was read of an API, how far each source was read, and what an API has acknowledged.

-- One run over one window of time; a window that is run again has a row for each run.
CREATE TABLE sinew."window" (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mapping      text NOT NULL,
    lower        timestamptz,              -- inclusive; NULL: from the beginning
    upper        timestamptz NOT NULL,     -- exclusive
    run_id       text NOT NULL,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'complete', 'superseded')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    UNIQUE (mapping, lower, upper, run_id)
);

ALTER TABLE sinew.batch
    DROP CONSTRAINT batch_kind_check,
    ADD CONSTRAINT batch_kind_check CHECK (kind IN ('range', 'whole', 'null_keys', 'window')),
    ADD COLUMN window_id     bigint REFERENCES sinew."window",
    ADD COLUMN repeated_rows bigint,       -- records of a key that came once more, in the same reading
    ADD COLUMN newer_rows    bigint,       -- staged, but the target has a newer version
    ADD COLUMN unchanged_rows bigint,      -- staged, but the API has this version already
    ADD COLUMN latest_moment timestamptz;  -- of the staged rows
CREATE INDEX batch_by_window ON sinew.batch (window_id);

-- One reading of one resource of an API; its records are in sinew_stage.raw_<id>.
CREATE TABLE sinew.fetch (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mapping     text NOT NULL,
    window_id   bigint NOT NULL REFERENCES sinew."window",
    resource    text NOT NULL,
    fingerprint text NOT NULL,             -- of all that decides what was asked for
    state       text NOT NULL DEFAULT 'begun' CHECK (state IN ('begun', 'complete', 'dropped')),
    cursor      jsonb,                     -- where a reading that was interrupted goes on
    pages       bigint NOT NULL DEFAULT 0,
    records     bigint,
    bookmark    text,
    began_at    timestamptz NOT NULL DEFAULT now(),
    asked_at    timestamptz,               -- when the first page was asked for
    ended_at    timestamptz,
    UNIQUE (window_id, resource)
);

-- How far a sync has read what it reads since its last run, by resource or entity.
CREATE TABLE sinew.position (
    mapping  text NOT NULL,
    name     text NOT NULL,
    moment   timestamptz,
    bookmark text,
    set_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (mapping, name)
);

-- What an API acknowledged or refused, one row for each row and version that was sent.
CREATE TABLE sinew.receipt (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mapping         text NOT NULL,
    entity          text NOT NULL,
    batch_id        bigint NOT NULL REFERENCES sinew.batch ON DELETE CASCADE,
    source_key      jsonb NOT NULL,
    version         bigint NOT NULL,       -- hash of the row as it was sent
    change          text NOT NULL CHECK (change IN ('create', 'update', 'delete')),
    idempotency_key text NOT NULL,
    status          text NOT NULL CHECK (status IN ('accepted', 'refused', 'unknown')),
    http_status     integer,
    remote_id       text,
    code            text,
    error           text,                  -- the API's words, without the row's values
    attempts        integer NOT NULL,
    sent_at         timestamptz NOT NULL
);
CREATE INDEX receipt_by_key ON sinew.receipt (mapping, entity, source_key);
CREATE INDEX receipt_by_batch ON sinew.receipt (batch_id);
