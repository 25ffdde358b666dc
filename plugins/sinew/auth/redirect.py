"""The loopback redirect of RFC 8252 §7.3: a server for one request, which a browser is sent to."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sinew.auth.answers import plain
from sinew.auth.origins import is_local
from sinew.auth.server import AuthorizationServer
from sinew.errors import ConfigurationError, LoginNeededError, TokenInvalidError, TokenRefusedError

_DONE = (
    b"<!doctype html><title>Sinew</title><p>You can close this window and go back to the terminal."
)
_WRONG = (
    b"<!doctype html><title>Sinew</title><p>This is not the answer to the login that is waiting."
)


@dataclass(frozen=True)
class Redirect:
    """Where the browser comes back to."""

    host: str
    port: int
    path: str

    @property
    def uri(self) -> str:
        """The redirect URI to register and to send."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}"


def redirect_of(configured: str | None) -> Redirect:
    """The place that auth.redirect_uri names; port 0 stands for any that is free."""
    if configured is None:
        return Redirect("127.0.0.1", 0, "/callback")
    try:
        url = urlsplit(configured)
        host, port = url.hostname, url.port
    except ValueError:
        url, host, port = urlsplit(""), None, None
    if url.scheme != "http" or host is None or not is_local(host):
        raise ConfigurationError(
            f"auth.redirect_uri is {configured!r}; allowed: http:// on a loopback address, such as "
            "http://127.0.0.1/callback, with a port if the server wants one registered: change it here and there"
        )
    return Redirect(host, port or 0, url.path or "/")


class Waiter:
    """Listens on loopback until the browser brings the answer with the right ``state``.

    Anything else that knocks gets an error page and changes nothing.
    """

    def __init__(self, redirect: Redirect, state: str) -> None:
        self._state = state
        self._answer: Mapping[str, str] | None = None
        self._came = threading.Event()
        try:
            self._server = _LoopbackServer((redirect.host, redirect.port), self._handler())
        except OSError as error:
            raise ConfigurationError(
                f"port {redirect.port} of {redirect.host} cannot be listened on ({error.strerror}): close what "
                "uses it, or change auth.redirect_uri"
            ) from None
        self.redirect = Redirect(redirect.host, self._server.server_address[1], redirect.path)

    def __enter__(self) -> Waiter:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> Mapping[str, str]:
        """The parameters of the answer. Raises LoginNeededError when none comes in time."""
        if not self._came.wait(seconds) or self._answer is None:
            raise LoginNeededError(
                f"nobody finished the login in the browser within {seconds:.0f} s: start it again"
            )
        return self._answer

    def _take(self, target: str) -> bool:
        """Whether this request brought the answer."""
        url = urlsplit(target)
        if url.path != self.redirect.path or self._came.is_set():
            return False
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        if not has_state(parameters, self._state):
            return False
        self._answer = parameters
        self._came.set()
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        waiter = self

        class Handler(BaseHTTPRequestHandler):
            # A peer that connects and says nothing must not keep the browser out.
            timeout = 5

            def do_GET(self) -> None:
                # A name that points here by DNS would let a web site read the answer.
                local = is_local(urlsplit(f"//{self.headers.get('Host', '')}").hostname)
                good = local and waiter._take(self.path)
                body = _DONE if good else _WRONG
                self.send_response(200 if good else 400)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the request's line holds the code."""

        return Handler


class _LoopbackServer(HTTPServer):
    # HTTPServer looks its own name up, which can take seconds without a network.
    def server_bind(self) -> None:
        import socketserver

        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]


def has_state(parameters: Mapping[str, str], state: str) -> bool:
    """Whether an answer is to our own question (RFC 6749 §10.12)."""
    return hmac.compare_digest(parameters.get("state", "").encode(), state.encode())


def code_of(server: AuthorizationServer, parameters: Mapping[str, str]) -> str:
    """The code of an answer whose state is right. Raises AuthenticationError for anything else."""
    _check_issuer(server, parameters)
    if error := parameters.get("error"):
        said = plain(parameters.get("error_description", ""))
        shown = f" ({said})" if said else ""
        code = plain(error, 60)
        raise TokenRefusedError(
            f"the authorization server answered the login with {code}{shown}: consent to it, or have the client "
            "and its scopes allowed there, and log in again",
            code,
            400,
        )
    if not parameters.get("code"):
        raise TokenInvalidError("the answer to the login has no code: log in again", "code")
    return parameters["code"]


def _check_issuer(server: AuthorizationServer, parameters: Mapping[str, str]) -> None:
    """RFC 9207 §2.4: the answer must come from the server that was asked, or it was mixed up."""
    issuer, seen = server.auth.issuer, parameters.get("iss")
    if issuer is None:
        return
    promised = server.metadata().get("authorization_response_iss_parameter_supported") is True
    if (seen is None and promised) or (seen is not None and seen != issuer):
        raise TokenInvalidError(
            f"the answer to the login is of issuer {plain(seen) or 'none'!r}; allowed: {issuer!r}: another server "
            "answered: log in again, and look who answered if it stays so",
            "iss",
        )
