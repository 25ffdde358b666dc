"""Authorization servers to test against: the demo's own, plain and over TLS, and a foreign one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from demo.shop.authserver import AuthServer, Settings
from demo.shop.tls import Certificates, make_certificates


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
    """``oidc-provider-mock``: discovery, code flow with ID tokens, refresh tokens, userinfo."""
    # Imported here: it brings Flask, which no other test needs.
    from oidc_provider_mock import run_server_in_thread

    with run_server_in_thread() as server:
        yield IndependentProvider(f"http://localhost:{server.server_port}")
