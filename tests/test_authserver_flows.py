"""The demo's authorization server: codes, consent and devices; and one that others wrote."""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from demo.shop.authserver import AuthServer
from demo.shop.authserver.clients import DEVICE_CODE, LOOPBACK_REDIRECT, METHODS
from tests.fix_shop_servers import IndependentProvider
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


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_redeems_codes(self, tls_auth_server: AuthServer, method: str) -> None:
        tls_auth_server.control.auto_consent = True
        code = returned(authorize(tls_auth_server, request_of(tls_auth_server, method)))["code"]
        assert token_of(redeem(tls_auth_server, code, method))["id_token"]

    def test_connects_devices(self, tls_auth_server: AuthServer, method: str) -> None:
        begun = token_of(ask(tls_auth_server, method, "/device_authorization"))
        tls_auth_server.control.approve_device(begun["user_code"])
        form = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
        assert token_of(ask(tls_auth_server, method, **form))["refresh_token"]


class TestAuthorizationCode:
    @pytest.fixture
    def server(self, auth_server: AuthServer) -> AuthServer:
        auth_server.control.auto_consent = True
        return auth_server

    def test_a_code_becomes_tokens_with_an_id_token(self, server: AuthServer) -> None:
        asked = request_of(server)
        back = returned(authorize(server, asked))
        assert (back["state"], back["iss"]) == ("the state", server.issuer)
        body = token_of(redeem(server, back["code"]))
        claims = claims_of(server, body["id_token"])
        assert claims["nonce"] == asked["nonce"]
        assert claims["aud"] == asked["client_id"]
        assert (claims["sub"], claims["email"]) == ("ada", "ada@shop.example")
        assert claims["at_hash"] and claims["auth_time"]
        assert body["refresh_token"]

    def test_a_code_works_once_and_a_second_use_ends_its_tokens(self, server: AuthServer) -> None:
        code = returned(authorize(server, request_of(server)))["code"]
        body = token_of(redeem(server, code))
        assert error_of(redeem(server, code)) == "invalid_grant"
        assert server.introspect(body["access_token"]) == {"active": False}
        form = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
        assert error_of(ask(server, "none", **form)) == "invalid_grant"

    @pytest.mark.parametrize(
        "changes",
        [
            {"code_verifier": secrets.token_urlsafe(48)},
            {"redirect_uri": "http://127.0.0.1:49153/callback"},
            {"client": "client_secret_post"},
        ],
    )
    def test_a_code_is_bound_to_its_request(
        self, server: AuthServer, changes: dict[str, Any]
    ) -> None:
        code = returned(authorize(server, request_of(server)))["code"]
        assert error_of(redeem(server, code, **changes)) == "invalid_grant"

    def test_a_code_expires(self, server: AuthServer) -> None:
        code = returned(authorize(server, request_of(server)))["code"]
        server.control.clock_shift = 61
        assert error_of(redeem(server, code)) == "invalid_grant"

    @pytest.mark.parametrize(
        "uri",
        [
            "https://elsewhere.example/callback",
            "http://127.0.0.1/callback/more",
            "http://127.0.0.1:80x/callback",
            "http://localhost/callback",
            'http://127.0.0.1/"callback',
        ],
    )
    def test_nobody_is_sent_to_an_address_that_is_not_registered(
        self, server: AuthServer, uri: str
    ) -> None:
        answer = authorize(server, request_of(server, redirect_uri=uri))
        assert error_of(answer) == "invalid_request"

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"code_challenge": None}, "invalid_request"),
            ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"scope": "no:such"}, "invalid_scope"),
            ({"response_type": "token"}, "unsupported_response_type"),
        ],
    )
    def test_errors_go_to_the_client_with_state_and_issuer(
        self, server: AuthServer, changes: dict[str, Any], error: str
    ) -> None:
        back = returned(authorize(server, request_of(server, **changes)))
        assert (back["error"], back["state"]) == (error, "the state")
        assert back["iss"] == server.issuer

    def test_a_nonce_works_once(self, server: AuthServer) -> None:
        asked = request_of(server)
        assert returned(authorize(server, asked))["code"]
        assert returned(authorize(server, asked))["error"] == "invalid_request"


class TestConsent:
    def form(self, session: requests.Session, server: AuthServer) -> tuple[str, str]:
        """The page's text and the ticket of its form."""
        url = f"{server.issuer}/authorize?{urlencode(request_of(server))}"
        page = session.get(url, timeout=10).text
        found = re.search(r'name="ticket" value="([^"]+)"', page)
        assert found
        return page, found[1]

    def post(self, session: requests.Session, server: AuthServer, ticket: str, said: str) -> Any:
        form = {"ticket": ticket, "decision": said}
        url = f"{server.issuer}/authorize"
        return session.post(url, data=form, allow_redirects=False, timeout=10)

    def test_a_person_allows(self, auth_server: AuthServer) -> None:
        with requests.Session() as session:
            page, ticket = self.form(session, auth_server)
            assert "orders:read" in page
            back = returned(self.post(session, auth_server, ticket, "allow"))
            token_of(redeem(auth_server, back["code"]))

    def test_a_person_denies(self, auth_server: AuthServer) -> None:
        with requests.Session() as session:
            _, ticket = self.form(session, auth_server)
            back = returned(self.post(session, auth_server, ticket, "deny"))
        assert (back["error"], back["state"]) == ("access_denied", "the state")
        assert back["iss"] == auth_server.issuer

    def test_a_form_works_once_and_in_its_own_browser_only(self, auth_server: AuthServer) -> None:
        with requests.Session() as session, requests.Session() as other:
            _, ticket = self.form(session, auth_server)
            assert self.post(other, auth_server, ticket, "allow").status_code == 400
            _, ticket = self.form(session, auth_server)
            assert self.post(session, auth_server, ticket, "allow").status_code == 302
            assert self.post(session, auth_server, ticket, "allow").status_code == 400

    def test_nobody_is_asked_when_the_client_forbids_it(self, auth_server: AuthServer) -> None:
        back = returned(authorize(auth_server, request_of(auth_server, prompt="none")))
        assert back["error"] == "consent_required"
        assert back["state"] == "the state"


class TestDeviceCode:
    def begin(self, server: AuthServer, client: str = "none") -> dict[str, Any]:
        answer = ask(server, client, "/device_authorization", scope="openid orders:read")
        return token_of(answer)

    def poll(self, server: AuthServer, begun: dict[str, Any], client: str = "none") -> Any:
        return ask(server, client, grant_type=DEVICE_CODE, device_code=begun["device_code"])

    def test_a_device_waits_slows_down_and_is_let_in(self, auth_server: AuthServer) -> None:
        begun = self.begin(auth_server)
        assert error_of(self.poll(auth_server, begun)) == "authorization_pending"
        assert error_of(self.poll(auth_server, begun)) == "slow_down"
        auth_server.control.clock_shift = begun["interval"]
        assert error_of(self.poll(auth_server, begun)) == "slow_down"
        auth_server.control.clock_shift += begun["interval"] + 10
        assert error_of(self.poll(auth_server, begun)) == "authorization_pending"
        assert auth_server.control.approve_device(begun["user_code"].lower())
        body = token_of(self.poll(auth_server, begun))
        assert body["refresh_token"] and body["id_token"]
        assert error_of(self.poll(auth_server, begun)) == "invalid_grant"

    def test_a_device_is_refused(self, auth_server: AuthServer) -> None:
        begun = self.begin(auth_server)
        assert auth_server.control.deny_device(begun["user_code"])
        assert error_of(self.poll(auth_server, begun)) == "access_denied"

    def test_a_device_that_waits_too_long_starts_again(self, auth_server: AuthServer) -> None:
        begun = self.begin(auth_server)
        auth_server.control.clock_shift = begun["expires_in"]
        assert error_of(self.poll(auth_server, begun)) == "expired_token"
        assert not auth_server.control.approve_device(begun["user_code"])

    def test_a_device_code_is_its_clients_own(self, auth_server: AuthServer) -> None:
        begun = self.begin(auth_server)
        auth_server.control.approve_device(begun["user_code"])
        answer = self.poll(auth_server, begun, "client_secret_post")
        assert error_of(answer) == "unauthorized_client"

    def test_a_person_types_the_code(self, auth_server: AuthServer) -> None:
        begun = self.begin(auth_server, "client_secret_basic")
        with requests.Session() as session:
            page = session.get(begun["verification_uri_complete"], timeout=10).text
            found = re.search(r'name="ticket" value="([^"]+)"', page)
            assert found and begun["user_code"] in page
            form = {"ticket": found[1], "user_code": begun["user_code"], "decision": "allow"}
            assert session.post(begun["verification_uri"], data=form, timeout=10).ok
        token_of(self.poll(auth_server, begun, "client_secret_basic"))


class TestTheForeignProvidersFlow:
    def test_it_gives_tokens_for_a_code(self, independent_provider: IndependentProvider) -> None:
        issuer = independent_provider.issuer
        said = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=10).json()
        asked = {
            "response_type": "code",
            "client_id": "anybody",
            "redirect_uri": LOOPBACK_REDIRECT,
            "scope": "openid",
            "state": "the state",
        }
        answer = requests.post(
            said["authorization_endpoint"],
            params=asked,
            data={"sub": "ada"},
            allow_redirects=False,
            timeout=10,
        )
        form = {
            "grant_type": "authorization_code",
            "code": returned(answer)["code"],
            "redirect_uri": LOOPBACK_REDIRECT,
        }
        body = requests.post(said["token_endpoint"], data=form, auth=("anybody", "x"), timeout=10)
        assert {"access_token", "id_token", "refresh_token"} <= body.json().keys()
