"""Authorization servers to test against: the demo's own, plain and over TLS, and a foreign one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests
from joserfc.jwk import OctKey
from oidc_provider_mock import run_server_in_thread

from demo.shop.authserver import AuthServer, Client, Settings
from demo.shop.authserver.keys import sign
from demo.shop.tls import Certificates, make_certificates

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A throw-away authority, what it signed, and what must be refused."""
    return make_certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(scope="session")
def running_auth_server() -> Iterator[AuthServer]:
    with AuthServer() as server:
        yield server


@pytest.fixture(scope="session")
def running_tls_auth_server(certificates: Certificates) -> Iterator[AuthServer]:
    with AuthServer(tls=certificates) as server:
        yield server


@pytest.fixture
def auth_server(running_auth_server: AuthServer) -> AuthServer:
    """The authorization server on plain HTTP, with no faults, no counts, usual settings."""
    return as_new(running_auth_server)


@pytest.fixture
def tls_auth_server(running_tls_auth_server: AuthServer) -> AuthServer:
    """The one that speaks TLS and takes client certificates; knows all methods."""
    return as_new(running_tls_auth_server)


def as_new(server: AuthServer) -> AuthServer:
    """A server whose settings and switches are those of its start."""
    server.control.reset()
    server.control.auto_consent = False
    vars(server.settings).update(vars(Settings()))
    return server


@dataclass(frozen=True)
class IndependentProvider:
    """An OpenID provider that others wrote; it takes any client and user."""

    issuer: str


@pytest.fixture
def independent_provider() -> Iterator[IndependentProvider]:
    """``oidc-provider-mock``: code flow, client credentials, refresh tokens, introspection."""
    with run_server_in_thread() as server:
        yield IndependentProvider(f"http://localhost:{server.server_port}")


def proof(server: AuthServer, client: Client, **claims: Any) -> dict[str, Any]:
    """Arguments for requests.post by which a client authenticates; ``claims`` of its assertion."""
    sent: dict[str, Any] = {"data": {"client_id": client.client_id}}
    if server.authority:
        sent["verify"] = str(server.authority)
    if client.tls:
        sent["cert"] = (str(client.tls.certificate), str(client.tls.key))
    if client.method == "client_secret_basic":
        pair = quote_plus(client.client_id), quote_plus(client.secret or "")
        sent |= {"data": {}, "auth": pair}
    if client.method == "client_secret_post":
        sent["data"]["client_secret"] = client.secret
    if client.method in ("client_secret_jwt", "private_key_jwt"):
        sent["data"]["client_assertion_type"] = ASSERTION_TYPE
        sent["data"]["client_assertion"] = assertion(server, client, **claims)
    return sent


def assertion(server: AuthServer, client: Client, **claims: Any) -> str:
    """A client assertion (RFC 7523) good for a minute, unless ``claims`` say otherwise."""
    now = int(server.provider.clock.now())
    usual = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": server.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": secrets.token_urlsafe(12),
    }
    key = client.key or OctKey.import_key(client.secret or "", {"kid": "secret"})
    return sign(usual | claims, key, client.alg or "HS256")


def ask(
    server: AuthServer,
    client: str | Client,
    path: str = "/token",
    claims: Mapping[str, Any] | None = None,
    **form: Any,
) -> requests.Response:
    """Post a form to the server as one of its clients; ``_`` in names is as it stands."""
    one = server.clients[client] if isinstance(client, str) else client
    sent = proof(server, one, **(claims or {}))
    sent["data"] |= form
    return requests.post(f"{server.issuer}{path}", timeout=10, **sent)
