"""What tests of authentication share: endpoints of ready-made clients, an API to ask, a store of tokens."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from demo.shop.authserver import AuthServer, Client
from demo.shop.tls import Certificates
from demo.stack.postgres import EmbeddedPostgres
from sinew.auth.endpoint import ApiEndpoint, ConnectionParts, read_endpoint
from sinew.auth.postgres_store import PostgresTokenStore

# One of each kind of fixed proof, with what to look for.
SECRET = "pl4nted/s3cret+&="
KINDS = [
    {"type": "bearer", "token": SECRET},
    {"type": "api_key", "key": SECRET},
    {"type": "api_key", "key": SECRET, "in": "query", "name": "key"},
    {"type": "api_key", "key": "pl4nted", "in": "cookie", "name": "sid"},
    {"type": "basic", "username": "pl4nted", "password": "x"},
    {"type": "hmac", "key_id": "pl4nted", "secret": "x"},
    {"type": "hmac", "key_id": "pl4nted", "secret": "x", "scheme": "rfc9421"},
]


IDS = ["bearer", "header", "query", "cookie", "basic", "hmac", "rfc9421"]

Respond = Callable[["Request"], tuple[int, dict[str, str], bytes]]


@dataclass(frozen=True)
class Request:
    """One request as it arrived; ``certificate`` is the peer's, in DER."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    certificate: bytes | None = None

    @property
    def token(self) -> str:
        """The bearer token, or an empty text."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Api:
    """A server that notes every request and answers as it is told; header names in lower case."""

    url: str
    respond: Respond
    requests: list[Request] = field(default_factory=list)

    @property
    def tokens(self) -> list[str]:
        """The bearer tokens in the order of their arrival."""
        return [request.token for request in self.requests]


def fine(request: Request) -> tuple[int, dict[str, str], bytes]:
    """Anybody may have anything."""
    return 200, {"Content-Type": "application/json"}, b"{}"


def guarded(server: AuthServer) -> Respond:
    """Only tokens that the authorization server calls active."""

    def respond(request: Request) -> tuple[int, dict[str, str], bytes]:
        if server.introspect(request.token)["active"]:
            return fine(request)
        return 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, b"{}"

    return respond


@contextmanager
def serving(respond: Respond = fine, context: ssl.SSLContext | None = None) -> Iterator[Api]:
    """An API on a free port of 127.0.0.1, in a thread; over TLS with a context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            if context is not None:
                shake_hands(self.request)
            super().setup()

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            peer = self.connection.getpeercert(True) if context else None  # type: ignore[attr-defined]
            request = Request(self.command, self.path, headers, body, peer)
            api.requests.append(request)
            status, sent, content = api.respond(request)
            self.send_response(status)
            for name, value in sent.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> Any:
            sock, address = super().get_request()
            if context is not None:
                # Shakes hands in the thread of the request, when it first reads.
                sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            return sock, address

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that refuses our certificate is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "https" if context else "http"
    api = Api(f"{scheme}://127.0.0.1:{server.server_address[1]}", respond)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def shake_hands(connection: ssl.SSLSocket) -> None:
    """Take a client in, or tell it why not: a close with bytes unread would throw the alert away."""
    try:
        connection.do_handshake()
    except ssl.SSLError:
        raw = socket.socket(fileno=connection.detach())
        raw.settimeout(2)
        raw.shutdown(socket.SHUT_WR)
        with raw, contextlib.suppress(OSError):
            while raw.recv(65_536):
                pass
        raise


@pytest.fixture
def api() -> Iterator[Api]:
    """An API on plain HTTP that lets everybody in."""
    with serving() as one:
        yield one


@pytest.fixture
def guarded_api(auth_server: AuthServer) -> Iterator[Api]:
    """An API that takes active tokens of ``auth_server`` only."""
    with serving(guarded(auth_server)) as one:
        yield one


@pytest.fixture(scope="session")
def fernet_key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture(scope="session")
def token_db(pg: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo of a database for tokens, one for all tests."""
    pg.ensure_database("tokens")
    yield pg.dsn("tokens")
    pg.drop_database("tokens")


@pytest.fixture
def tokens(token_db: str, fernet_key: str) -> PostgresTokenStore:
    """An empty store of tokens, whose table is not made yet."""
    with psycopg.connect(token_db, autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS sinew_auth CASCADE")
    return PostgresTokenStore(token_db, fernet_key)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of the token endpoint that hardly wait, unless the server asks for it."""
    monkeypatch.setattr("sinew.auth.server._FIRST_PAUSE", 0.01)


def endpoint(extra: dict[str, Any], url: str = "http://127.0.0.1:9", **parts: Any) -> ApiEndpoint:
    """The endpoint of a connection with this extra."""
    return read_endpoint(ConnectionParts("shop_api", host=url, extra=extra, **parts))


def extra_of(
    server: AuthServer,
    client: Client,
    grant: str,
    certificates: Certificates | None = None,
    **auth: Any,
) -> dict[str, Any]:
    """The extra by which a ready-made client gets a token with this grant."""
    block: dict[str, Any] = {
        "type": "oauth2",
        "grant": grant,
        "issuer": server.issuer,
        "client_id": client.client_id,
        "client_auth": client.method,
        "scope": "orders:read",
    }
    if client.secret:
        block["client_secret"] = client.secret
    if client.key is not None:
        block |= {"private_key": client.private_pem, "key_id": client.kid, "algorithm": client.alg}
    extra: dict[str, Any] = {"auth": block | auth}
    if server.authority:
        extra["tls"] = {"ca": str(server.authority)}
    if client.tls:
        extra["tls"] |= {"certificate": str(client.tls.certificate), "key": str(client.tls.key)}
        if client.tls.passphrase:
            extra["tls"]["key_passphrase"] = client.tls.passphrase
    return extra


def client_endpoint(
    server: AuthServer,
    name: str,
    grant: str = "client_credentials",
    url: str = "http://127.0.0.1:9",
    **auth: Any,
) -> ApiEndpoint:
    """The endpoint of a ready-made client."""
    return endpoint(extra_of(server, server.clients[name], grant, **auth), url)
