-- The store of tokens: one for an Airflow installation, shared by all its workers.
-- `body` is encrypted with Airflow's Fernet key; NULL means that there is no token, only its lock.
-- Run again and again without harm. Parameters: none. Result: none.
CREATE SCHEMA IF NOT EXISTS sinew_auth;

CREATE TABLE IF NOT EXISTS sinew_auth.token (
    key      text PRIMARY KEY,                 -- connection id and the digest of what makes it another token
    version  bigint NOT NULL DEFAULT 0,        -- grows by one with every save
    body     text,
    saved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON sinew_auth.token FROM PUBLIC;
