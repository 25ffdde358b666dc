"""The authorization server as one object: ``with AuthServer() as server: server.issuer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.shop.authserver.app import create_app
from demo.shop.authserver.clients import Registry, ready_made
from demo.shop.authserver.control import Control
from demo.shop.authserver.provider import AssertionIssuer, Provider, Settings
from demo.shop.authserver.serving import ServerThread
from demo.shop.authserver.store import USERS
from demo.shop.tls import Certificates, Leaf
from demo.stack.files import write_json


class AuthServer:
    """An OAuth 2.0 and OpenID Connect server on a loopback port, in a thread of this process.

    ``tls`` makes it speak TLS with that certificate, and take client certificates. Clients, their
    secrets and all keys are made anew by each object. Further options are fields of ``Settings``.

    Example::

        with AuthServer(lifetime=60) as server:
            client = server.clients["client_secret_basic"]
            requests.post(server.token_endpoint, auth=(client.client_id, client.secret), data=…)
            assert server.control.token_requests(outcome="ok") == 1
    """

    def __init__(
        self,
        *,
        tls: Certificates | None = None,
        server_certificate: Leaf | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clients: Registry | None = None,
        **settings: Any,
    ) -> None:
        self._thread = ServerThread(host, port)
        self._tls, self._certificate = tls, server_certificate
        self.issuer = f"{'https' if tls else 'http'}://{host}:{self._thread.port}"
        self.clients = clients or ready_made(tls)
        self.provider = Provider(self.issuer, Settings(**settings), self.clients, tls)

    def __enter__(self) -> AuthServer:
        context = self._tls.server_context(self._certificate) if self._tls else None
        self._thread.start(create_app(self.provider, tls=bool(self._tls)), context)
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.stop()

    def wait(self) -> None:
        """Wait until the server ends, which it does not by itself."""
        self._thread.join()

    @property
    def settings(self) -> Settings:
        """How it behaves; may be changed while it runs."""
        return self.provider.settings

    @property
    def control(self) -> Control:
        """Faults on request, and counters."""
        return self.provider.control

    @property
    def issuers(self) -> dict[str, AssertionIssuer]:
        """Whose JWT assertions it takes, by issuer."""
        return dict(self.provider.issuers)

    @property
    def authority(self) -> Path | None:
        """The PEM file of the authority that signed its certificate; None on plain HTTP."""
        return self._tls.authority if self._tls else None

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/token"

    def public_jwks(self) -> dict[str, Any]:
        """The published keys, as ``/jwks`` has them."""
        with self.provider.store.lock:
            return self.provider.keys.public_jwks()

    def introspect(self, token: str) -> dict[str, Any]:
        """What introspection would say of an access token, for a resource server in this process."""
        with self.provider.store.lock:
            found = self.provider.store.access(token)
            if found is None or not found.active:
                return {"active": False}
            return {"active": True, **self.provider.described(found)}

    def issue_refresh_token(
        self, client: str, scope: str = "orders:read", user: str = "ada"
    ) -> str:
        """A refresh token as if the user had just consented, of a family of its own."""
        provider, one = self.provider, self.clients[client]
        with provider.store.lock:
            now = int(provider.clock.now())
            family = provider.tokens.new_family(
                one, USERS[user], scope, [one.audience], auth_time=now
            )
            return family.current

    def write_credentials(self, path: Path) -> None:
        """Write what clients need to a JSON file that only its owner may read."""
        clients = {name: client.credentials() for name, client in self.clients.items()}
        issuers = {
            name: {"private_key": one.private_pem, "kid": one.key.kid, "alg": one.alg}
            for name, one in self.issuers.items()
        }
        authority = str(self.authority) if self.authority else None
        document = {"issuer": self.issuer, "authority": authority}
        write_json(path, {**document, "clients": clients, "assertion_issuers": issuers})
