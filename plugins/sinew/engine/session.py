"""Connections whose every setting that could change a value is pinned, and the border where errors change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sinew.errors import (
    ConfigurationError,
    ConstraintError,
    InterruptedStepError,
    SinewError,
    StatementError,
    UnavailableError,
)

# A value must read the same whatever a server, database or role has set. row_security = off makes a policy
# raise instead of hiding rows.
_PINS = {
    "client_encoding": "UTF8",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "timezone": "UTC",
    "lc_monetary": "C",
    "xmloption": "content",
    "row_security": "off",
    "search_path": "pg_catalog",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    # A commit that the ledger counts on is on disk before the next step begins.
    "synchronous_commit": "on",
    # A batch's join fits in memory; compiling wide, short-lived plans costs more than it gives.
    "work_mem": "128MB",
    "jit": "off",
}
# A worker that is killed must not leave its statement running for hours.
_PINS_FROM_14 = {"client_connection_check_interval": "2s"}


@dataclass(frozen=True)
class Endpoint:
    """A database to work on: the connection's id for messages, and how to reach it (never shown)."""

    conn_id: str
    conninfo: str = field(repr=False)

    @property
    def address(self) -> str:
        """host:port/database, without user or password."""
        parts = conninfo_to_dict(self.conninfo)
        return f"{parts.get('host', '')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def connect(
    endpoint: Endpoint,
    *,
    read_only: bool = False,
    lock_timeout: str = "10min",
    step: str = "connect",
    doing: str = "",
) -> psycopg.Connection:
    """Open an autocommit connection with pinned settings; the caller closes it.

    ``step`` names the session at the server, ``doing`` what it is for in messages.
    """
    with translated(f"{doing or step}: connection {endpoint.conn_id} ({endpoint.address})"):
        conn = psycopg.connect(
            endpoint.conninfo,
            autocommit=True,
            connect_timeout=15,
            application_name=f"sinew {step}"[:60],
        )
        _pin(conn, read_only, lock_timeout)
    return conn


def _pin(conn: psycopg.Connection, read_only: bool, lock_timeout: str) -> None:
    pins = _PINS | {
        "lock_timeout": lock_timeout,
        "default_transaction_read_only": "on" if read_only else "off",
    }
    if conn.info.server_version >= 140000:
        pins |= _PINS_FROM_14
    conn.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS pin(name, value)",
        (list(pins), list(pins.values())),
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn a driver's error into ours; ``doing`` names mapping, entity, batch and step."""
    try:
        yield
    except SinewError:
        raise
    except psycopg.Error as error:
        raise _translate(error, doing) from None


def _translate(error: psycopg.Error, doing: str) -> SinewError:
    state = error.sqlstate or ""
    message = f"{doing}: {describe(error)}"
    if not state:
        return _without_state(error, doing)
    if state in _CONFIGURATION or state[:2] == "28":
        return ConfigurationError(
            f"{message}. {_REMEDY.get(state, 'Mend the connection or its privileges')}"
        )
    if state[:2] in ("08", "53", "58") or state[:3] == "57P":
        return UnavailableError(f"{message}. It is tried again; if it stays, look at the server")
    if state in ("40001", "40P01", "55P03", "57014", "25P03", "25P04"):
        return InterruptedStepError(f"{message}. It is tried again")
    if state[:2] in ("23", "44"):
        return ConstraintError(
            f"{message}. Mend the data, the mapping or the constraint, then clear the task"
        )
    return StatementError(message)


_CONFIGURATION = frozenset(["42501", "3D000", "3F000", "42P01", "42703", "42704", "42883"])
_REMEDY = {
    "42501": "GRANT what is missing to the connection's user",
    "3D000": "Name an existing database in the connection",
    "42P01": "A table is gone: plan again",
    "42703": "A column is gone: mend the mapping and plan again",
}


def _without_state(error: psycopg.Error, doing: str) -> SinewError:
    """Connection failures carry no SQLSTATE; libpq's text is all there is. It never holds a password."""
    text = " ".join(str(error).split()).removesuffix(".")
    if re.search(
        r"password authentication failed|no password supplied|does not exist|pg_hba|permission denied",
        text,
    ):
        database = re.search(r'permission denied for database "(.*?)"', text)
        if database:
            return ConfigurationError(
                f"{doing}: {text}. Run: GRANT CONNECT ON DATABASE {database[1]} TO the connection's user"
            )
        return ConfigurationError(
            f"{doing}: {text}. Mend the user, password or database of the connection"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return UnavailableError(
            f"{doing}: {text}. It is tried again; if it stays, look at the server"
        )
    return StatementError(f"{doing}: {type(error).__name__}: {text}")


# Messages of these classes name objects, never values; those of 22 and 23 may quote personal data, and so may
# what a function of the user's own raises (P0).
_SAFE_CLASSES = (
    "08",
    "0A",
    "25",
    "28",
    "2B",
    "3D",
    "3F",
    "40",
    "42",
    "53",
    "54",
    "55",
    "57",
    "58",
    "XX",
)


def describe(error: psycopg.Error) -> str:
    """SQLSTATE, its name, and the objects concerned; the server's words only where they quote no value."""
    diag, state = error.diag, error.sqlstate or ""
    objects = [
        f"{label} {name}"
        for label, name in [
            ("table", diag.table_name),
            ("column", diag.column_name),
            ("constraint", diag.constraint_name),
            ("type", diag.datatype_name),
        ]
        if name
    ]
    words = [f"{type(error).__name__} ({state})"]
    if state[:2] in _SAFE_CLASSES and diag.message_primary:
        words.append(diag.message_primary)
    # Where it was raised is told by the function's name and line.
    raised = re.search(r"^PL/pgSQL function .* line \d+ at RAISE", diag.context or "")
    if raised:
        words.append(raised[0])
    return ", ".join(words + objects)


def drop_tables(conn: psycopg.Connection, *tables: sql.Identifier) -> None:
    """Drop tables that may or may not exist."""
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.SQL(", ").join(tables)))
