"""Show, logout and test of a connection: what they say, and that they say no secret."""

from __future__ import annotations

from typing import Any

import pytest

from demo.shop.authserver import AuthServer
from sinew.auth.probing import probe
from sinew.auth.session import open_session
from sinew.auth.showing import logout, show
from sinew.auth.store import MemoryTokenStore
from sinew.errors import AuthenticationError, RetriableError
from tests.fix_auth import IDS, KINDS, Api, client_endpoint, endpoint

BASIC = "client_secret_basic"


class TestShowing:
    def test_says_scopes_expiry_and_claims_and_no_token(
        self, auth_server: AuthServer, guarded_api: Api
    ) -> None:
        end, store = client_endpoint(auth_server, BASIC, url=guarded_api.url), MemoryTokenStore()
        assert show(end, store).state == "none"
        open_session(end, store).get("/")
        shown = show(end, store)
        assert (shown.state, shown.scopes, shown.renewable) == ("alive", ("orders:read",), True)
        assert shown.expires_in is not None and 0 < shown.expires_in <= 300
        assert shown.claims["iss"] == auth_server.issuer
        assert guarded_api.tokens[0] not in repr(shown)

    def test_is_for_oauth_only(self, api: Api) -> None:
        with pytest.raises(AuthenticationError, match="this needs oauth2"):
            show(endpoint({"auth": {"type": "bearer", "token": "x"}}, api.url), MemoryTokenStore())


class TestLogout:
    def test_revokes_and_forgets(self, auth_server: AuthServer, guarded_api: Api) -> None:
        first = auth_server.issue_refresh_token(BASIC)
        end = client_endpoint(
            auth_server, BASIC, "refresh_token", url=guarded_api.url, refresh_token=first
        )
        store = MemoryTokenStore()
        open_session(end, store).get("/")
        stored = store.peek(end.slot)
        done = logout(end, store)
        assert (done.was_stored, done.revoked) == (True, ("refresh_token", "access_token"))
        assert (
            stored is not None and not auth_server.introspect(stored.access_token or "")["active"]
        )
        assert store.peek(end.slot) is None
        assert logout(end, store).was_stored is False

    def test_without_an_endpoint_only_forgets(self, api: Api) -> None:
        api.respond = lambda request: (200, {}, b'{"access_token": "a", "token_type": "bearer"}')
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        end, store = endpoint({"auth": auth}, api.url), MemoryTokenStore()
        open_session(end, store).get("/")
        assert logout(end, store).revoked == ()
        assert store.peek(end.slot) is None

    def test_keeps_the_token_when_the_server_is_away(
        self, auth_server: AuthServer, api: Api
    ) -> None:
        end, store = client_endpoint(auth_server, BASIC, url=api.url), MemoryTokenStore()
        open_session(end, store).get("/")
        auth_server.control.fail_next(3, "unavailable", endpoint="revocation")
        with pytest.raises(RetriableError):
            logout(end, store)
        assert store.peek(end.slot) is not None


class TestAProbe:
    @pytest.mark.parametrize("auth", KINDS, ids=IDS)
    def test_says_what_was_sent_and_got_and_no_secret(self, auth: dict[str, Any], api: Api) -> None:
        done = probe(endpoint({"auth": auth}, api.url), MemoryTokenStore(), "/orders?token=pl4nted")
        assert (done.status, done.good, done.url) == (200, True, f"{api.url}/orders")
        assert done.sent
        assert "pl4nted" not in repr(done)

    def test_of_oauth_tells_of_its_token(self, auth_server: AuthServer, guarded_api: Api) -> None:
        done = probe(client_endpoint(auth_server, BASIC, url=guarded_api.url), MemoryTokenStore())
        assert done.good and done.token is not None and done.token.scopes == ("orders:read",)
        assert f"an access token of {auth_server.issuer} (grant client_credentials" in done.sent
        assert "Authorization" in done.headers
        assert guarded_api.tokens[0] not in repr(done)

    @pytest.mark.parametrize(
        ("status", "asked", "word"),
        [
            (401, "", "correct the connection's secret"),
            (403, 'Bearer error="insufficient_scope"', "lacks a scope"),
            (403, "", "have the right granted"),
            (404, "", "the path does not exist"),
        ],
    )
    def test_says_what_to_do(self, status: int, asked: str, word: str, api: Api) -> None:
        api.respond = lambda request: (status, {"WWW-Authenticate": asked} if asked else {}, b"")
        done = probe(
            endpoint({"auth": {"type": "bearer", "token": "x"}}, api.url), MemoryTokenStore()
        )
        assert word in done.advice
        assert done.good == (status == 404)
