"""Make the demo's databases on a server of their own, and tell Airflow where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.compose.connections import store

_SUPERUSER = "postgres"
# What the web shop's orders are written to.
_SHOP_TABLES = Path(__file__).parents[1] / "shop" / "target.sql"
# Airflow connection id, which is the database's name too: its role, and the role's options.
_ROLES = {
    "legacy_retail": ("legacy", "REPLICATION"),
    "commerce": ("sinew", ""),
}
_PASSWORDS = {
    _SUPERUSER: "SINEW_DEMO_PASSWORD",
    "legacy": "SINEW_DEMO_READER_PASSWORD",
    "sinew": "SINEW_DEMO_WRITER_PASSWORD",
}


def main() -> None:
    """Make roles, databases and rows, and store the connections; what is there already stays."""
    with _connect("postgres", _SUPERUSER) as conn:
        for role, options in _ROLES.values():
            _ensure_role(conn, role, options)
        _ensure_database(conn, "legacy_retail", _SUPERUSER)
        _ensure_database(conn, "commerce", "sinew")
        conn.execute("GRANT pg_read_all_data TO legacy")
        conn.execute("GRANT CONNECT ON DATABASE legacy_retail TO legacy")
    _fill()
    store({name: _connection(name, role) for name, (role, _) in _ROLES.items()})


def _fill() -> None:
    from demo.legacy.build import build

    scale = float(os.environ.get("SINEW_DEMO_SCALE") or 1)
    with _connect("legacy_retail", _SUPERUSER) as old, _connect("commerce", "sinew") as new:
        build(old, new, scale=scale, reader="legacy")
        new.execute(_SHOP_TABLES.read_text(encoding="utf-8"))
    print("The demo's databases are in place.", flush=True)


def _ensure_role(conn: psycopg.Connection, name: str, options: str) -> None:
    known = conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    statement = sql.SQL("{verb} ROLE {name} LOGIN PASSWORD {password} {options}").format(
        verb=sql.SQL("CREATE" if known is None else "ALTER"),
        name=sql.Identifier(name),
        password=sql.Literal(_password(name)),
        options=sql.SQL(options),
    )
    conn.execute(statement)


def _ensure_database(conn: psycopg.Connection, name: str, owner: str) -> None:
    query = "SELECT FROM pg_database WHERE datname = %s"
    if conn.execute(query, [name]).fetchone() is not None:
        return
    names = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
    conn.execute(sql.SQL("CREATE DATABASE {name} OWNER {owner}").format(**names))
    conn.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))


def _connect(database: str, role: str) -> psycopg.Connection:
    where = make_conninfo(host=_host(), dbname=database, user=role, password=_password(role))
    return psycopg.connect(where, autocommit=True, connect_timeout=10)


def _connection(database: str, role: str) -> dict[str, Any]:
    return {
        "conn_type": "postgres",
        "host": _host(),
        "port": 5432,
        "login": role,
        "password": _password(role),
        "schema": database,
    }


def _host() -> str:
    return os.environ["SINEW_DEMO_HOST"]


def _password(role: str) -> str:
    return os.environ[_PASSWORDS[role]]


if __name__ == "__main__":
    main()
