"""Airflow connections, turned into endpoints; secrets never reach a log, an error or a repr."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sinew.errors import ConfigurationError

if TYPE_CHECKING:
    from sinew.engine.session import Endpoint

_TYPES = ("postgres", "postgresql")
_EXAMPLE = "postgres://user:password@host:5432/database"
# Keys of ``extra`` that tell Airflow's own hook what to do and mean nothing to libpq.
_FOR_HOOKS = frozenset(
    [
        "aws_conn_id",
        "cluster-identifier",
        "cursor",
        "iam",
        "redshift",
        "region_name",
        "sqlalchemy_scheme",
    ]
)


@dataclass(frozen=True)
class Parts:
    """What a connection says; ``extra`` holds any of libpq's parameters."""

    conn_type: str
    host: str | None
    port: int | None
    login: str | None
    password: str | None = field(repr=False)
    database: str | None
    extra: dict[str, Any] = field(repr=False)


def endpoint(conn_id: str) -> Endpoint:
    """The database of an Airflow connection. Raises ConfigurationError when it is not usable."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"the mapping names connection {conn_id!r}, which Airflow does not have; "
            f"{_how_to_add(conn_id)}"
        ) from None
    return _endpoint(
        conn_id,
        Parts(
            found.conn_type or "",
            found.host,
            found.port,
            found.login,
            found.password,
            found.schema,
            _extra(found.extra),
        ),
    )


def endpoint_from_env(conn_id: str) -> Endpoint:
    """The database of the variable AIRFLOW_CONN_<ID>, a URI or JSON, without any Airflow."""
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(name, "").strip()
    if not text:
        raise ConfigurationError(f"the variable {name} is not set; {_how_to_add(conn_id)}")
    try:
        parts = _from_json(text) if text.startswith("{") else _from_uri(text)
    except (ValueError, TypeError):
        # The parser's own message quotes the text, and so the password.
        raise ConfigurationError(
            f"{name} can be read neither as a URI nor as JSON; allowed: {_EXAMPLE}, or an object "
            "with conn_type, host, port, login, password, schema: set it again"
        ) from None
    return _endpoint(conn_id, parts)


def _how_to_add(conn_id: str) -> str:
    return (
        f"add it: `airflow connections add {conn_id} --conn-uri {_EXAMPLE}`, "
        f"or set AIRFLOW_CONN_{conn_id.upper()} to such a URI"
    )


def _from_uri(text: str) -> Parts:
    uri = urlsplit(text)
    return Parts(
        uri.scheme,
        unquote(uri.hostname or ""),
        uri.port,
        unquote(uri.username or ""),
        unquote(uri.password or ""),
        unquote(uri.path.removeprefix("/")),
        dict(parse_qsl(uri.query)),
    )


def _from_json(text: str) -> Parts:
    said = json.loads(text)
    port = said.get("port")
    return Parts(
        said.get("conn_type", ""),
        said.get("host"),
        int(port) if port else None,
        said.get("login"),
        said.get("password"),
        said.get("schema"),
        _extra(said.get("extra")),
    )


def _extra(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.strip():
        value = json.loads(value)
    return value if isinstance(value, dict) else {}


def _endpoint(conn_id: str, parts: Parts) -> Endpoint:
    from sinew.engine.session import Endpoint

    if parts.conn_type not in _TYPES:
        raise ConfigurationError(
            f"connection {conn_id!r} has the type {parts.conn_type!r}; a migration needs postgres: "
            f"delete it and {_how_to_add(conn_id)}"
        )
    return Endpoint(conn_id, _conninfo(conn_id, parts))


def _conninfo(conn_id: str, parts: Parts) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    extra = {name: value for name, value in parts.extra.items() if name not in _FOR_HOOKS}
    named = {
        "host": parts.host,
        "port": parts.port,
        "user": parts.login,
        "password": parts.password,
        "dbname": parts.database,
    }
    given = {name: value for name, value in (extra | named).items() if value not in (None, "")}
    try:
        return make_conninfo(**given)
    except ProgrammingError:
        raise ConfigurationError(
            f"the extra of connection {conn_id!r} has {', '.join(sorted(extra))}; allowed: libpq's "
            "parameters, such as sslmode and sslrootcert: remove what is none"
        ) from None
