"""Sessions with HTTP APIs, by Airflow connection; tokens are kept in one store for the installation."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sinew.errors import ConfigurationError
from sinew.hooks import connections
from sinew.hooks.lookup import Parts, Purpose, from_airflow, from_env

if TYPE_CHECKING:
    import requests

    from sinew.auth.endpoint import ApiEndpoint
    from sinew.auth.store import TokenStore

TYPES = ("http", "sinew_http")
_EXAMPLE = (
    '{"conn_type": "sinew_http", "host": "https://api.example.com", "login": "id", "password": "secret", '
    '"extra": {"auth": {"type": "oauth2", "grant": "client_credentials", "issuer": "https://login.example.com"}}}'
)
_PURPOSE = Purpose("an API is named by connection", _EXAMPLE)
_TOKENS_VARIABLE = "SINEW_TOKENS_CONN"
_DEFAULT_TOKENS_CONN = "sinew_tokens"
FERNET_VARIABLE = "AIRFLOW__CORE__FERNET_KEY"


@dataclass(frozen=True)
class ApiOpener:
    """Opens a session with an API; holds no secret, so that it can be sent to another process.

    The connection is read by the process that calls it, from Airflow, or from variables.
    """

    conn_id: str
    without_airflow: bool = False

    def __call__(self) -> requests.Session:
        """A session; see sinew.auth.session.open_session. Raises ConfigurationError."""
        from sinew.auth.session import open_session

        if self.without_airflow:
            endpoint = api_endpoint_from_env(self.conn_id)
            return open_session(endpoint, tokens_of(endpoint, token_store_from_env))
        endpoint = api_endpoint(self.conn_id)
        return open_session(endpoint, tokens_of(endpoint))


def api_opener(conn_id: str) -> ApiOpener:
    """An opener that asks Airflow for the connection."""
    return ApiOpener(conn_id)


def api_opener_from_env(conn_id: str) -> ApiOpener:
    """An opener that takes the connections from variables AIRFLOW_CONN_<ID>, without any Airflow."""
    return ApiOpener(conn_id, without_airflow=True)


def api_endpoint(conn_id: str) -> ApiEndpoint:
    """The API of an Airflow connection; its secrets are masked in logs from then on.

    Raises ConfigurationError; EndpointError lists everything that is wrong with the connection.
    """
    from sinew.hooks.masking import mask_endpoint

    endpoint = _endpoint(from_airflow(conn_id, _PURPOSE))
    mask_endpoint(endpoint)
    return endpoint


def api_endpoint_from_env(conn_id: str) -> ApiEndpoint:
    """The API of a variable AIRFLOW_CONN_<ID>, a URI or JSON, without any Airflow."""
    return _endpoint(from_env(conn_id, _PURPOSE))


def token_store() -> TokenStore:
    """The store of this installation: the connection that SINEW_TOKENS_CONN names, or sinew_tokens.

    Raises ConfigurationError where that connection or Airflow's Fernet key is missing or unusable.
    """
    from airflow.configuration import conf

    from sinew.hooks.masking import MaskingTokenStore

    where = connections.endpoint(tokens_conn(), _store_purpose())
    return MaskingTokenStore(_store(where.conninfo, conf.get("core", "fernet_key", fallback="")))


def token_store_from_env() -> TokenStore:
    """The same without any Airflow: connection and Fernet key are variables."""
    where = connections.endpoint_from_env(tokens_conn(), _store_purpose())
    return _store(where.conninfo, os.environ.get(FERNET_VARIABLE, ""))


def tokens_of(endpoint: ApiEndpoint, store: Callable[[], TokenStore] = token_store) -> TokenStore:
    """The store for an endpoint: one without OAuth has no tokens, and needs no connection to a store."""
    from sinew.auth.store import MemoryTokenStore

    return store() if endpoint.oauth2 else MemoryTokenStore()


def _store(conninfo: str, fernet_key: str) -> TokenStore:
    from sinew.auth.postgres_store import PostgresTokenStore

    return PostgresTokenStore(conninfo, fernet_key)


def tokens_conn() -> str:
    """The id of the connection to the store."""
    return os.environ.get(_TOKENS_VARIABLE) or _DEFAULT_TOKENS_CONN


def _store_purpose() -> Purpose:
    return Purpose(
        f"OAuth tokens are kept, encrypted, in the database of connection ({_TOKENS_VARIABLE})",
        connections.EXAMPLE,
    )


def _endpoint(parts: Parts) -> ApiEndpoint:
    from sinew.auth.endpoint import ConnectionParts, read_endpoint
    from sinew.hooks.api_form import folded

    if parts.conn_type not in TYPES:
        raise ConfigurationError(
            f"connection {parts.conn_id!r} has the type {parts.conn_type!r}; an API needs "
            f"{' or '.join(TYPES)}: delete it and {_PURPOSE.how_to_add(parts.conn_id)}"
        )
    extra = folded(parts.conn_id, parts.extra)
    return read_endpoint(ConnectionParts(**{**vars(parts), "extra": extra}))
