"""A person who logs in with the demo's public client: the connection, and the browser."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from demo.shop.authserver import AuthServer
from sinew.auth.endpoint import ApiEndpoint
from tests.fix_auth import client_endpoint

NONE = "none"  # the public client of the demo's server


SCOPE = "openid profile orders:read"


def coded(server: AuthServer, **auth: Any) -> ApiEndpoint:
    server.control.auto_consent = True
    return client_endpoint(server, NONE, "authorization_code", **{"scope": SCOPE} | auth)


def browser(tamper: Callable[[str], str] = lambda url: url) -> Callable[[str], bool]:
    """Follows the login to its end in a thread; ``tamper`` changes the URL that it brings back."""

    def visit(url: str) -> None:
        answer = requests.get(url, allow_redirects=False, timeout=10)
        requests.get(tamper(answer.headers["Location"]), timeout=10)

    def open_it(url: str) -> bool:
        threading.Thread(target=visit, args=(url,), daemon=True).start()
        return True

    return open_it


def changed(url: str, **parameters: str | None) -> str:
    """A URL with other parameters; None takes one away."""
    split = urlsplit(url)
    query = dict(parse_qsl(split.query)) | parameters
    return split._replace(
        query=urlencode({k: v for k, v in query.items() if v is not None})
    ).geturl()
