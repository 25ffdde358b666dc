"""The demo's authorization server: refresh tokens, keys, discovery, and faults on request."""

from __future__ import annotations

import threading
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from joserfc.errors import JoseError

from demo.shop.authserver import AuthServer
from demo.shop.authserver.keys import JWT_FAULTS
from tests.kit_authserver import (
    ask,
    authorize,
    claims_of,
    error_of,
    redeem,
    request_of,
    returned,
    token_of,
)


class TestRefreshTokens:
    def refresh(self, server: AuthServer, token: str, **form: str) -> Any:
        form = {"grant_type": "refresh_token", "refresh_token": token} | form
        return ask(server, "client_secret_post", **form)

    def test_each_use_gives_a_new_one(self, auth_server: AuthServer) -> None:
        token = auth_server.issue_refresh_token("client_secret_post")
        seen = {token}
        for _ in range(5):
            token = token_of(self.refresh(auth_server, token))["refresh_token"]
            seen.add(token)
        assert len(seen) == 6
        assert auth_server.control.families_revoked == 0

    def test_a_used_one_ends_the_family(self, auth_server: AuthServer) -> None:
        first = auth_server.issue_refresh_token("client_secret_post")
        body = token_of(self.refresh(auth_server, first))
        assert error_of(self.refresh(auth_server, first)) == "invalid_grant"
        assert error_of(self.refresh(auth_server, body["refresh_token"])) == "invalid_grant"
        assert auth_server.introspect(body["access_token"]) == {"active": False}
        assert auth_server.control.families_revoked == 1

    def test_within_the_overlap_the_one_before_works_once_more(
        self, auth_server: AuthServer
    ) -> None:
        auth_server.settings.refresh_overlap = 10
        first = auth_server.issue_refresh_token("client_secret_post")
        second = token_of(self.refresh(auth_server, first))["refresh_token"]
        auth_server.control.clock_shift = 9
        assert token_of(self.refresh(auth_server, first))["refresh_token"] == second
        assert error_of(self.refresh(auth_server, first)) == "invalid_grant"
        assert auth_server.control.families_revoked == 1

    def test_after_the_overlap_it_does_not(self, auth_server: AuthServer) -> None:
        auth_server.settings.refresh_overlap = 10
        first = auth_server.issue_refresh_token("client_secret_post")
        token_of(self.refresh(auth_server, first))
        auth_server.control.clock_shift = 11
        assert error_of(self.refresh(auth_server, first)) == "invalid_grant"

    def test_within_the_overlap_two_before_do_not(self, auth_server: AuthServer) -> None:
        auth_server.settings.refresh_overlap = 10
        first = auth_server.issue_refresh_token("client_secret_post")
        second = token_of(self.refresh(auth_server, first))["refresh_token"]
        token_of(self.refresh(auth_server, second))
        assert error_of(self.refresh(auth_server, first)) == "invalid_grant"

    def test_two_at_the_same_moment_end_the_family(self, auth_server: AuthServer) -> None:
        first = auth_server.issue_refresh_token("client_secret_post")
        answers: list[int] = []

        def once() -> None:
            answers.append(self.refresh(auth_server, first).status_code)

        threads = [threading.Thread(target=once) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200, 400]
        assert auth_server.control.families_revoked == 1

    def test_another_client_cannot_use_or_end_it(self, auth_server: AuthServer) -> None:
        token = auth_server.issue_refresh_token("client_secret_post")
        newest = token_of(self.refresh(auth_server, token))["refresh_token"]
        for stolen in (token, newest):
            form = {"grant_type": "refresh_token", "refresh_token": stolen}
            assert error_of(ask(auth_server, "private_key_jwt", **form)) == "invalid_grant"
        token_of(self.refresh(auth_server, newest))

    def test_a_resource_narrows_too_and_never_widens(self, auth_server: AuthServer) -> None:
        token = auth_server.issue_refresh_token("client_secret_post")
        wider = self.refresh(auth_server, token, resource="urn:demo:marketing")
        assert error_of(wider) == "invalid_target"
        token_of(self.refresh(auth_server, token, resource="urn:demo:shop"))

    def test_only_the_newest_is_active(self, auth_server: AuthServer) -> None:
        old = auth_server.issue_refresh_token("client_secret_post")
        new = token_of(self.refresh(auth_server, old))["refresh_token"]
        said = [
            ask(auth_server, "client_secret_post", "/introspect", token=token).json()["active"]
            for token in (old, new)
        ]
        assert said == [False, True]

    def test_scope_narrows_for_one_access_token(self, auth_server: AuthServer) -> None:
        both = "orders:read contacts:read"
        token = auth_server.issue_refresh_token("client_secret_post", scope=both)
        body = token_of(self.refresh(auth_server, token, scope="orders:read"))
        assert body["scope"] == "orders:read"
        body = token_of(self.refresh(auth_server, body["refresh_token"]))
        assert body["scope"] == both
        wider = self.refresh(auth_server, body["refresh_token"], scope="contacts:write")
        assert error_of(wider) == "invalid_scope"

    def test_revoking_it_ends_what_came_from_it(self, auth_server: AuthServer) -> None:
        token = auth_server.issue_refresh_token("client_secret_post")
        body = token_of(self.refresh(auth_server, token))
        form = {"token": body["refresh_token"], "token_type_hint": "refresh_token"}
        assert ask(auth_server, "client_secret_post", "/revoke", **form).status_code == 200
        assert auth_server.introspect(body["access_token"]) == {"active": False}
        assert error_of(self.refresh(auth_server, body["refresh_token"])) == "invalid_grant"
        assert auth_server.control.families_revoked == 0


class TestDiscoveryAndKeys:
    def get(self, server: AuthServer, path: str) -> Any:
        trust = str(server.authority) if server.authority else True
        return requests.get(f"{server.issuer}{path}", verify=trust, timeout=10).json()

    def test_both_documents_name_endpoints_that_exist(self, tls_auth_server: AuthServer) -> None:
        openid = self.get(tls_auth_server, "/.well-known/openid-configuration")
        assert openid == self.get(tls_auth_server, "/.well-known/oauth-authorization-server")
        assert openid["issuer"] == tls_auth_server.issuer
        named = [value for name, value in openid.items() if name.endswith(("_endpoint", "_uri"))]
        named += openid["mtls_endpoint_aliases"].values()
        for url in named:
            answer = requests.options(url, verify=str(tls_auth_server.authority), timeout=10)
            assert answer.status_code == 405, url

    def test_an_old_key_stays_for_a_while_or_leaves_at_once(self, auth_server: AuthServer) -> None:
        name = "client_secret_post"
        token = token_of(ask(auth_server, name, grant_type="client_credentials"))["access_token"]
        auth_server.control.rotate_keys(keep_seconds=100)
        assert len(self.get(auth_server, "/jwks")["keys"]) == 2
        claims_of(auth_server, token)
        auth_server.control.clock_shift = 101
        assert len(self.get(auth_server, "/jwks")["keys"]) == 1
        with pytest.raises((JoseError, ValueError)):
            claims_of(auth_server, token)
        auth_server.control.rotate_keys(keep_seconds=0)
        (key,) = self.get(auth_server, "/jwks")["keys"]
        assert "d" not in key

    def test_another_issuer_on_request(self, auth_server: AuthServer) -> None:
        auth_server.control.issuer_in_discovery = "https://elsewhere.example"
        said = self.get(auth_server, "/.well-known/openid-configuration")
        assert said["issuer"] == "https://elsewhere.example"


class TestFaults:
    def token(self, server: AuthServer) -> Any:
        return ask(server, "client_secret_post", grant_type="client_credentials")

    def test_unavailable_and_throttled(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(2)
        auth_server.control.fail_next(kind="throttled", retry_after=7)
        auth_server.control.fail_next(kind="throttled", retry_after=7, as_date=True)
        assert [self.token(auth_server).status_code for _ in range(2)] == [503, 503]
        answer = self.token(auth_server)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        answer = self.token(auth_server)
        date = parsedate_to_datetime(answer.headers["Date"])
        wait = parsedate_to_datetime(answer.headers["Retry-After"]) - date
        assert 6 <= wait.total_seconds() <= 8
        token_of(self.token(auth_server))

    @pytest.mark.parametrize("kind", ["wrong_json", "html"])
    def test_answers_that_are_no_json(self, auth_server: AuthServer, kind: str) -> None:
        auth_server.control.fail_next(kind=kind)
        answer = self.token(auth_server)
        assert answer.status_code == 200
        with pytest.raises(requests.JSONDecodeError):
            answer.json()

    def test_a_dropped_connection_before_the_work_changes_nothing(
        self, auth_server: AuthServer
    ) -> None:
        token = auth_server.issue_refresh_token("client_secret_post")
        form = {"grant_type": "refresh_token", "refresh_token": token}
        auth_server.control.fail_next(kind="drop")
        with pytest.raises(requests.ConnectionError):
            ask(auth_server, "client_secret_post", **form)
        token_of(ask(auth_server, "client_secret_post", **form))

    def test_a_dropped_connection_after_the_work_has_used_the_token(
        self, auth_server: AuthServer
    ) -> None:
        token = auth_server.issue_refresh_token("client_secret_post")
        form = {"grant_type": "refresh_token", "refresh_token": token}
        auth_server.control.fail_next(kind="drop_after")
        with pytest.raises(requests.ConnectionError):
            ask(auth_server, "client_secret_post", **form)
        assert error_of(ask(auth_server, "client_secret_post", **form)) == "invalid_grant"

    def test_no_answer(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(kind="hang", endpoint="jwks")
        with pytest.raises(requests.Timeout):
            requests.get(f"{auth_server.issuer}/jwks", timeout=0.2)

    def test_tokens_that_end_early(self, auth_server: AuthServer) -> None:
        auth_server.control.forget_after = 5
        body = token_of(self.token(auth_server))
        assert body["expires_in"] == 300
        auth_server.control.clock_shift = 5
        assert auth_server.introspect(body["access_token"]) == {"active": False}
        auth_server.control.clock_shift = 0
        assert auth_server.control.forget_access_tokens() >= 1
        assert auth_server.introspect(body["access_token"]) == {"active": False}

    def test_a_clock_that_is_off_shows_in_the_date(self, auth_server: AuthServer) -> None:
        right = parsedate_to_datetime(self.token(auth_server).headers["Date"])
        auth_server.control.clock_shift = 600
        wrong = parsedate_to_datetime(self.token(auth_server).headers["Date"])
        assert 595 <= (wrong - right).total_seconds() <= 660

    @pytest.mark.parametrize("kind", sorted(JWT_FAULTS))
    def test_id_tokens_that_nobody_should_take(self, auth_server: AuthServer, kind: str) -> None:
        control, name = auth_server.control, "client_secret_post"

        def id_token() -> dict[str, Any]:
            asked = request_of(auth_server, name, nonce=None)
            code = returned(authorize(auth_server, asked))["code"]
            return claims_of(auth_server, token_of(redeem(auth_server, code, name))["id_token"])

        control.auto_consent = True
        good = id_token()
        control.id_token_fault = kind
        try:
            bad = id_token()
        except (JoseError, ValueError):
            return  # the signature is what is wrong
        off = {claim for claim in {*good, *bad} if good.get(claim) != bad.get(claim)}
        assert off >= {"wrong_audience": {"aud"}, "wrong_azp": {"aud", "azp"}}.get(kind, set())
        assert off & {"aud", "azp", "iss", "nonce", "at_hash", "exp"}

    def test_an_error_of_choice(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(kind="oauth_error", error="slow_down")
        assert error_of(self.token(auth_server)) == "slow_down"
        assert auth_server.control.token_requests(outcome="slow_down") == 1

    def test_an_unknown_fault_is_refused(self, auth_server: AuthServer) -> None:
        with pytest.raises(ValueError, match="allowed: 'unavailable'"):
            auth_server.control.fail_next(kind="explode")
        with pytest.raises(ValueError, match="'alg_none'"):
            auth_server.control.id_token_fault = "explode"


class TestControlOverHttp:
    def post(self, server: AuthServer, **order: Any) -> requests.Response:
        return requests.post(f"{server.issuer}/control", json=order, timeout=10)

    def test_switches_actions_and_counters(self, auth_server: AuthServer) -> None:
        fault = {"count": 1, "kind": "unavailable"}
        answer = self.post(auth_server, set={"clock_shift": 5}, call="fail_next", **{"with": fault})
        assert answer.json()["clock_shift"] == 5
        statuses = [
            ask(auth_server, "client_secret_basic", grant_type="client_credentials").status_code
            for _ in range(3)
        ]
        assert statuses == [503, 200, 200]
        state = requests.get(f"{auth_server.issuer}/control", timeout=10).json()
        client = {"client": "client_secret_basic", "grant": "client_credentials"}
        assert state["token_requests"] == [
            {**client, "outcome": "ok", "count": 2},
            {**client, "outcome": "unavailable", "count": 1},
        ]
        assert auth_server.control.token_requests("client_secret_basic", outcome="ok") == 2
        assert auth_server.control.requests("token") == 3

    @pytest.mark.parametrize("order", [{"call": "take"}, {"set": {"reset": 1}}, {"set": 3}])
    def test_nothing_else_can_be_reached(
        self, auth_server: AuthServer, order: dict[str, Any]
    ) -> None:
        assert self.post(auth_server, **order).status_code == 400

    def test_only_loopback_is_served_and_no_form_of_a_page(self, auth_server: AuthServer) -> None:
        url = f"{auth_server.issuer}/control"
        rebound = requests.get(url, headers={"Host": "evil.example"}, timeout=10)
        assert rebound.status_code == 404
        assert requests.post(url, data="{}", timeout=10).status_code == 415
