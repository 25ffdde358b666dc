"""Every grant with every client authentication and token style, end to end: server, store, session, API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from demo.shop.authserver import AuthServer
from demo.shop.authserver.clients import CONFIDENTIAL_METHODS, METHODS
from demo.shop.tls import Certificates
from sinew.auth.life import TokenSource
from sinew.auth.login import Prompt, login
from sinew.auth.session import open_session
from sinew.auth.store import MemoryTokenStore
from sinew.auth.tls import thumbprint
from tests.fix_auth import Api, client_endpoint, guarded, serving

SELF_DRIVEN = ("client_credentials", "refresh_token", "jwt_bearer", "token_exchange")
BY_PERSON = ("authorization_code", "device_code")
STYLES = ("jwt", "opaque")
COMBINATIONS = [
    pytest.param(grant, method, style, id=f"{grant}-{method}-{style}")
    for grant in (*SELF_DRIVEN, *BY_PERSON)
    for method in (CONFIDENTIAL_METHODS if grant == "client_credentials" else METHODS)
    for style in STYLES
]


@pytest.fixture
def shop(tls_auth_server: AuthServer, certificates: Certificates) -> Iterator[Api]:
    """An API over TLS that knows the authorization server and sees client certificates."""
    with serving(guarded(tls_auth_server), certificates.server_context()) as api:
        yield api


def consenting(server: AuthServer) -> Callable[[str], bool]:
    """A browser whose person says yes."""
    server.control.auto_consent = True

    def visit(url: str) -> bool:
        requests.get(url, verify=str(server.authority) if server.authority else True, timeout=10)
        return True

    return lambda url: (
        bool(threading.Thread(target=visit, args=(url,), daemon=True).start()) or True
    )


def approving(server: AuthServer) -> Callable[[Prompt], None]:
    """A person who types the code that is shown."""

    def show(prompt: Prompt) -> None:
        if prompt.user_code:
            assert server.control.approve_device(prompt.user_code)

    return show


def seed(server: AuthServer, name: str, grant: str) -> dict[str, Any]:
    """The secret that a grant starts from."""
    if grant == "refresh_token":
        return {"refresh_token": server.issue_refresh_token(name)}
    if grant == "token_exchange":
        return {"subject_token": a_token(server, "client_secret_basic")}
    if grant == "jwt_bearer":
        (issuer,) = server.issuers.values()
        return {
            "assertion": {
                "issuer": issuer.issuer,
                "subject": "ada",
                "private_key": issuer.private_pem,
                "key_id": issuer.key.kid,
            }
        }
    return {}


def a_token(server: AuthServer, name: str) -> str:
    return TokenSource(client_endpoint(server, name), MemoryTokenStore()).current()


@pytest.mark.parametrize(("grant", "method", "style"), COMBINATIONS)
def test_it_reaches_the_api(
    grant: str, method: str, style: str, tls_auth_server: AuthServer, shop: Api
) -> None:
    server, store = tls_auth_server, MemoryTokenStore()
    server.settings.device_interval = 0.05  # type: ignore[assignment]
    name = method if style == "jwt" else f"{method}_opaque"
    end = client_endpoint(server, name, grant, url=shop.url, **seed(server, name, grant))
    if grant in BY_PERSON:
        login(end, store, show=approving(server), open_browser=consenting(server))
    answer = open_session(end, store).get("/orders")
    assert answer.status_code == 200
    assert len(shop.requests) == 1
    told = server.introspect(shop.requests[0].token)
    assert told["client_id"] == server.clients[name].client_id
    assert told["scope"] == "orders:read"
    if "tls" in method:
        assert told["cnf"] == {"x5t#S256": thumbprint(end.tls)}
        assert shop.requests[0].certificate is not None
    assert (shop.requests[0].token.count(".") == 2) == (style == "jwt")


@pytest.mark.parametrize("algorithm", ["es256", "ps256", "eddsa"])
def test_private_key_jwt_signs_with_other_keys(
    algorithm: str, auth_server: AuthServer, guarded_api: Api
) -> None:
    end = client_endpoint(auth_server, f"private_key_jwt_{algorithm}", url=guarded_api.url)
    assert open_session(end, MemoryTokenStore()).get("/").status_code == 200


def test_a_secret_with_odd_characters_is_encoded_as_rfc_6749_says(
    auth_server: AuthServer, guarded_api: Api
) -> None:
    end = client_endpoint(auth_server, "client_secret_basic_escaped", url=guarded_api.url)
    assert open_session(end, MemoryTokenStore()).get("/").status_code == 200
