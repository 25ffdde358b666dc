"""The table that the benchmark moves: nine columns, about 180 bytes a row with its key."""

from __future__ import annotations

import psycopg
from psycopg import sql

COLUMNS = """
    id bigint PRIMARY KEY, customer integer NOT NULL, name varchar(60) NOT NULL, amount numeric(12, 2) NOT NULL,
    code char(8) NOT NULL, note text, payload jsonb, created_at timestamptz NOT NULL, status smallint NOT NULL
"""
ROWS = """
INSERT INTO {table} SELECT
    i, i % 100000, 'customer name ' || i, (i % 1000000) / 100.0, lpad((i % 99999)::text, 8, '0'),
    CASE WHEN i % 5 = 0 THEN NULL ELSE 'some note about row ' || i END,
    jsonb_build_object('a', i, 'b', 'x' || (i % 17)),
    timestamptz '2020-01-01 00:00Z' + make_interval(secs => i), i % 7
FROM generate_series(1, {rows}) AS i
"""
MAPPING = """
migration: {name}
source: {{conn: legacy_retail, schema: bench}}
target: {{conn: commerce, schema: bench}}
batch: {{rows: {rows}}}
parallelism: 2
entities:
  {table}:
    from: {table}
    key: [id]
    columns:
      id: {{key: copy}}
      customer: {{from: customer}}
      name: {{from: name}}
      amount: {{from: amount}}
      code: {{from: code}}
      note: {{from: note}}
      payload: {{from: payload}}
      created_at: {{from: created_at}}
      status: {{from: status}}
"""


def make_source(conn: psycopg.Connection, table: str, rows: int) -> None:
    """Make the source table, unless it is there with that many rows."""
    conn.execute("CREATE SCHEMA IF NOT EXISTS bench")
    name = sql.Identifier("bench", table)
    if conn.execute("SELECT to_regclass(%s)", (name.as_string(conn),)).fetchone() != (None,):
        if conn.execute(sql.SQL("SELECT max(id) FROM {}").format(name)).fetchone() == (rows,):
            return
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    conn.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(COLUMNS)))
    conn.execute(sql.SQL(ROWS).format(table=name, rows=sql.Literal(rows)))
    conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(name))
    conn.execute(
        "GRANT USAGE ON SCHEMA bench TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA bench TO PUBLIC"
    )


def make_target(conn: psycopg.Connection, table: str) -> None:
    """Make the target table anew, empty, with its primary key."""
    name = sql.Identifier("bench", table)
    conn.execute("CREATE SCHEMA IF NOT EXISTS bench")
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    conn.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(COLUMNS)))


def forget(conn: psycopg.Connection) -> None:
    """Drop the ledger and everything that earlier runs left."""
    conn.execute(
        "DROP SCHEMA IF EXISTS sinew, sinew_stage, sinew_rows, sinew_shadow, sinew_old CASCADE"
    )
    conn.execute("CHECKPOINT")
