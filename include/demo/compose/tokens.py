"""Make the database in which the tokens of APIs are kept, and tell Airflow where it is."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from demo.compose.connections import store

CONNECTION = "sinew_tokens"
# Role and database have the connection's name.
_NAME = sql.Identifier(CONNECTION)


def main() -> None:
    """Make role and database beside Airflow's own, and store the connection; what is there stays."""
    uri = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    password = os.environ["SINEW_TOKENS_PASSWORD"]
    with psycopg.connect(uri, autocommit=True, connect_timeout=10) as conn:
        ensure(conn, password)
    server = urlsplit(uri)
    store({CONNECTION: connection(str(server.hostname), server.port or 5432, password)})


def ensure(conn: psycopg.Connection, password: str) -> None:
    """Make the role, which may use the one database and no other on this server, Airflow's least of all."""
    known = conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [CONNECTION]).fetchone()
    verb = sql.SQL("CREATE" if known is None else "ALTER")
    statement = sql.SQL("{verb} ROLE {name} LOGIN PASSWORD {password}")
    conn.execute(statement.format(verb=verb, name=_NAME, password=sql.Literal(password)))
    query = "SELECT FROM pg_database WHERE datname = %s"
    if conn.execute(query, [CONNECTION]).fetchone() is None:
        conn.execute(sql.SQL("CREATE DATABASE {name} OWNER {name}").format(name=_NAME))
    for name in (_NAME, sql.Identifier(conn.info.dbname)):
        conn.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(name=name))


def connection(host: str, port: int, password: str) -> dict[str, Any]:
    """The connection, as `airflow connections import` reads it."""
    return {
        "conn_type": "postgres",
        "host": host,
        "port": port,
        "login": CONNECTION,
        "password": password,
        "schema": CONNECTION,
    }


if __name__ == "__main__":
    main()
