-- The shop's and the marketing system's tables, in SQLite. A body is the record as the API answers it: JSON text.
-- Parameters: none. Result: none.
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS customers_created ON customers (created_at);
CREATE INDEX IF NOT EXISTS customers_updated ON customers (updated_at);

CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS products_created ON products (created_at);
CREATE INDEX IF NOT EXISTS products_updated ON products (updated_at);

CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body TEXT NOT NULL,
    customer_id INTEGER NOT NULL, status TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_created ON orders (created_at);
CREATE INDEX IF NOT EXISTS orders_updated ON orders (updated_at);
CREATE INDEX IF NOT EXISTS orders_customer ON orders (customer_id);

CREATE TABLE IF NOT EXISTS contacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body TEXT NOT NULL,
    external_id TEXT NOT NULL UNIQUE);
CREATE INDEX IF NOT EXISTS contacts_created ON contacts (created_at);
CREATE INDEX IF NOT EXISTS contacts_updated ON contacts (updated_at);

-- One row for each write request that arrived, whatever became of it.
CREATE TABLE IF NOT EXISTS request_log (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    idempotency_key TEXT,
    digest TEXT NOT NULL,        -- sha256 of the body
    outcome TEXT NOT NULL CHECK (outcome IN ('applied', 'replayed', 'refused', 'failed_before', 'failed_after')),
    status INTEGER,              -- of the answer; NULL when the connection was dropped
    delivered INTEGER NOT NULL   -- 0 when the client did not get our answer whole
);
CREATE INDEX IF NOT EXISTS request_log_key ON request_log (idempotency_key);

-- One row for each contact that a request applied or refused: a bulk request has many.
CREATE TABLE IF NOT EXISTS contact_change (
    request_id INTEGER NOT NULL REFERENCES request_log, position INTEGER NOT NULL, external_id TEXT,
    operation TEXT NOT NULL, status INTEGER NOT NULL, error TEXT, PRIMARY KEY (request_id, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contact_change_contact ON contact_change (external_id);

-- The first answer to each idempotency key of each client.
CREATE TABLE IF NOT EXISTS answer (
    owner TEXT NOT NULL, idempotency_key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (owner, idempotency_key)
) WITHOUT ROWID;
