"""What a connection says: as Airflow knows it, or as a variable AIRFLOW_CONN_<ID> does without any Airflow."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sinew.errors import ConfigurationError

_EXTRA = "__extra__"


@dataclass(frozen=True)
class Parts:
    """The fields of a connection; ``schema`` is a database's name, or http and https."""

    conn_id: str
    conn_type: str
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None = field(repr=False)
    extra: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Purpose:
    """Why a connection is looked up and how one like it is added, for messages.

    ``needed_by`` ends before the connection's id; ``example`` is a URI, or JSON.
    """

    needed_by: str
    example: str

    def how_to_add(self, conn_id: str) -> str:
        """What to do about a connection that is missing."""
        kind, option = ("text", "json") if self.example.startswith("{") else ("a URI", "uri")
        return (
            f"add it: `airflow connections add {conn_id} --conn-{option} '{self.example}'`, "
            f"or set {variable(conn_id)} to such {kind}"
        )


def variable(conn_id: str) -> str:
    """The environment variable that stands for a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def from_airflow(conn_id: str, purpose: Purpose) -> Parts:
    """A connection of Airflow's, from any of its secrets backends. Raises ConfigurationError."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"{purpose.needed_by} {conn_id!r}, which Airflow does not have; "
            f"{purpose.how_to_add(conn_id)}"
        ) from None
    return Parts(
        conn_id,
        found.conn_type or "",
        found.host,
        found.port,
        found.schema,
        found.login,
        found.password,
        _extra_of(conn_id, found.extra),
    )


def from_env(conn_id: str, purpose: Purpose) -> Parts:
    """The connection of a variable, a URI or JSON, without any Airflow. Raises ConfigurationError."""
    name = variable(conn_id)
    text = os.environ.get(name, "").strip()
    if not text:
        raise ConfigurationError(f"the variable {name} is not set; {purpose.how_to_add(conn_id)}")
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError):
        # The parser's own message quotes the text, and so the password.
        raise ConfigurationError(
            f"{name} can be read neither as a URI nor as JSON; allowed: {purpose.example}, or an object "
            "with conn_type, host, port, login, password, schema, extra: set it again"
        ) from None


def _from_uri(conn_id: str, text: str) -> Parts:
    """As Airflow reads it: ``type://protocol://host`` has the protocol in its host."""
    uri = urlsplit(text)
    conn_type, protocol = uri.scheme, ""
    if text.count("://") == 2:
        uri = urlsplit(text.removeprefix(f"{conn_type}://"))
        protocol = f"{uri.scheme}://"
    query = dict(parse_qsl(uri.query, keep_blank_values=True))
    host = unquote(uri.hostname or "")
    return Parts(
        conn_id,
        conn_type.replace("-", "_"),
        host and protocol + host,
        uri.port,
        unquote(uri.path.removeprefix("/")),
        unquote(uri.username or ""),
        unquote(uri.password or ""),
        _extra_of(conn_id, query[_EXTRA]) if _EXTRA in query else dict(query),
    )


def _from_json(conn_id: str, text: str) -> Parts:
    said = json.loads(text)
    port = said.get("port")
    return Parts(
        conn_id,
        str(said.get("conn_type") or "").replace("-", "_"),
        said.get("host"),
        int(port) if port else None,
        said.get("schema"),
        said.get("login"),
        said.get("password"),
        _extra_of(conn_id, said.get("extra")),
    )


def _extra_of(conn_id: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            # Without the parser's message, which quotes what it read.
            raise ConfigurationError(
                f"the extra of connection {conn_id!r} is no JSON; allowed: an object: correct it"
            ) from None
    return value if isinstance(value, dict) else {}
