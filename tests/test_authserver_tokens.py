"""The demo's authorization server: what tokens say, assertions about users, token exchange."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from demo.shop.authserver import AuthServer
from demo.shop.authserver.clients import (
    JWT_BEARER,
    METHODS,
    TOKEN_EXCHANGE,
)
from tests.kit_authserver import ask, assertion, claims_of, error_of, token_of, vouched

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class TestTokens:
    def test_a_jwt_access_token_has_the_claims_of_rfc_9068(self, auth_server: AuthServer) -> None:
        answer = token_of(ask(auth_server, "client_secret_post", grant_type="client_credentials"))
        client = auth_server.clients["client_secret_post"]
        claims = claims_of(auth_server, answer["access_token"])
        assert claims["iss"] == auth_server.issuer
        assert claims["sub"] == claims["client_id"] == client.client_id
        assert claims["aud"] == "urn:demo:shop"
        assert claims["exp"] - claims["iat"] == answer["expires_in"] == 300
        assert claims["jti"]
        header = jwt.decode(
            answer["access_token"], KeySet.import_key_set(auth_server.public_jwks())
        ).header
        assert header["typ"] == "at+jwt"

    def test_scope_is_narrowed_to_what_the_client_may_have(self, auth_server: AuthServer) -> None:
        narrow = auth_server.clients.variant(
            "client_secret_post", "narrow", scopes=("orders:read",)
        )
        wanted = {"grant_type": "client_credentials", "scope": "orders:read contacts:write"}
        assert token_of(ask(auth_server, narrow, **wanted))["scope"] == "orders:read"

    @pytest.mark.parametrize("scope", ["no:such", "contacts:write"])
    def test_no_scope_at_all_is_an_error(self, auth_server: AuthServer, scope: str) -> None:
        narrow = auth_server.clients.variant(
            "client_secret_post", "narrow", scopes=("orders:read",)
        )
        answer = ask(auth_server, narrow, grant_type="client_credentials", scope=scope)
        assert error_of(answer) == "invalid_scope"

    def test_resources_and_audiences_end_up_in_the_token(self, auth_server: AuthServer) -> None:
        answer = ask(
            auth_server,
            "client_secret_post",
            grant_type="client_credentials",
            resource=["urn:demo:marketing", "urn:demo:shop"],
        )
        claims = claims_of(auth_server, token_of(answer)["access_token"])
        assert claims["aud"] == ["urn:demo:marketing", "urn:demo:shop"]

    @pytest.mark.parametrize("name", ["resource", "audience"])
    def test_an_unknown_resource_is_refused(self, auth_server: AuthServer, name: str) -> None:
        wanted = {"grant_type": "client_credentials", name: "https://elsewhere.example"}
        assert error_of(ask(auth_server, "client_secret_post", **wanted)) == "invalid_target"

    def test_introspection_tells_owners_and_resource_servers_only(
        self, auth_server: AuthServer
    ) -> None:
        opaque = "client_secret_basic_opaque"
        token = token_of(ask(auth_server, opaque, grant_type="client_credentials"))["access_token"]
        for asker, active in [
            (opaque, True),
            ("resource_server", True),
            ("private_key_jwt", False),
        ]:
            said = ask(auth_server, asker, "/introspect", token=token).json()
            assert said["active"] is active
        assert said == {"active": False}

    def test_a_revoked_token_is_no_longer_active(self, auth_server: AuthServer) -> None:
        name = "client_secret_post"
        token = token_of(ask(auth_server, name, grant_type="client_credentials"))["access_token"]
        ask(auth_server, "private_key_jwt", "/revoke", token=token)
        assert auth_server.introspect(token)["active"]
        assert ask(auth_server, name, "/revoke", token=token).status_code == 200
        assert auth_server.introspect(token) == {"active": False}

    def test_expiry_follows_the_servers_clock(self, auth_server: AuthServer) -> None:
        name = "client_secret_post"
        token = token_of(ask(auth_server, name, grant_type="client_credentials"))["access_token"]
        auth_server.control.clock_shift = 299
        assert auth_server.introspect(token)["active"]
        auth_server.control.clock_shift = 300
        assert not auth_server.introspect(token)["active"]

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({}, "unsupported_grant_type"),
            ({"grant_type": "refresh_token"}, "invalid_request"),
            ({"grant_type": "refresh_token", "refresh_token": "guess"}, "invalid_grant"),
            ({"grant_type": ["client_credentials", "refresh_token"]}, "invalid_request"),
        ],
    )
    def test_errors_are_those_of_rfc_6749(
        self, auth_server: AuthServer, form: dict[str, Any], error: str
    ) -> None:
        assert error_of(ask(auth_server, "client_secret_post", **form)) == error

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (b"\xff\xfe=%ff", {}),
            (b"grant_type=client_credentials", {"Authorization": "Basic !"}),
            (b"grant_type=client_credentials", {"Authorization": "Basic /w=="}),
            (b"client_id=" + b"x" * 100_000, {}),
            (b"client_assertion=a.b.c&client_assertion_type=x", {}),
            (b"grant_type=client_credentials", {"Host": "evil.example"}),
        ],
    )
    def test_malformed_requests_are_answered(
        self, auth_server: AuthServer, body: bytes, headers: dict[str, str]
    ) -> None:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = requests.post(
            auth_server.token_endpoint, data=body, headers=kind | headers, timeout=10
        )
        assert answer.status_code in (400, 401)
        assert answer.json()["error"]

    def test_parameters_of_the_url_are_ignored(self, auth_server: AuthServer) -> None:
        client = auth_server.clients["client_secret_post"]
        secrets = {"client_id": client.client_id, "client_secret": client.secret}
        url = f"{auth_server.token_endpoint}?grant_type=client_credentials"
        answer = requests.post(url, params=secrets, timeout=10)
        assert error_of(answer) == "unsupported_grant_type"


class TestAssertionsAndExchange:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_trusted_issuer_vouches_for_a_user_whose_token_is_exchanged(
        self, tls_auth_server: AuthServer, method: str
    ) -> None:
        form = {"grant_type": JWT_BEARER, "assertion": vouched(tls_auth_server)}
        token = token_of(ask(tls_auth_server, method, **form))["access_token"]
        assert claims_of(tls_auth_server, token)["sub"] == "ada"
        form = {"subject_token": token, "subject_token_type": ACCESS_TOKEN}
        body = token_of(ask(tls_auth_server, method, grant_type=TOKEN_EXCHANGE, **form))
        assert claims_of(tls_auth_server, body["access_token"])["sub"] == "ada"

    @pytest.mark.parametrize(
        "changes",
        [{"iss": "https://elsewhere.example"}, {"sub": "mallory"}, {"aud": "x"}, {"exp": 1}],
    )
    def test_a_wrong_assertion_is_refused(
        self, auth_server: AuthServer, changes: dict[str, Any]
    ) -> None:
        form = {"grant_type": JWT_BEARER, "assertion": vouched(auth_server, **changes)}
        assert error_of(ask(auth_server, "client_secret_post", **form)) == "invalid_grant"

    def test_an_assertion_about_a_user_works_once(self, auth_server: AuthServer) -> None:
        form = {"grant_type": JWT_BEARER, "assertion": vouched(auth_server)}
        token_of(ask(auth_server, "none", **form))
        assert error_of(ask(auth_server, "client_secret_post", **form)) == "invalid_grant"

    def test_a_clients_own_key_vouches_for_nobody(self, auth_server: AuthServer) -> None:
        client = auth_server.clients["private_key_jwt"]
        forged = assertion(auth_server, client, iss=next(iter(auth_server.issuers)), sub="ada")
        answer = ask(auth_server, client, grant_type=JWT_BEARER, assertion=forged)
        assert error_of(answer) == "invalid_grant"

    def test_a_token_is_exchanged_for_one_of_another_audience(
        self, auth_server: AuthServer
    ) -> None:
        form = {"grant_type": JWT_BEARER, "scope": "orders:read contacts:read"}
        subject = ask(auth_server, "none", assertion=vouched(auth_server), **form)
        actor = ask(auth_server, "private_key_jwt", grant_type="client_credentials")
        answer = ask(
            auth_server,
            "private_key_jwt",
            grant_type=TOKEN_EXCHANGE,
            subject_token=token_of(subject)["access_token"],
            subject_token_type=ACCESS_TOKEN,
            actor_token=token_of(actor)["access_token"],
            actor_token_type=ACCESS_TOKEN,
            audience="urn:demo:marketing",
            scope="contacts:read",
        )
        body = token_of(answer)
        assert body["issued_token_type"] == ACCESS_TOKEN
        claims = claims_of(auth_server, body["access_token"])
        assert (claims["sub"], claims["aud"]) == ("ada", "urn:demo:marketing")
        assert claims["scope"] == "contacts:read"
        assert claims["act"] == {"sub": auth_server.clients["private_key_jwt"].client_id}

    def test_an_exchanged_token_ends_with_the_one_that_it_came_from(
        self, auth_server: AuthServer
    ) -> None:
        subject = token_of(ask(auth_server, "client_secret_post", grant_type="client_credentials"))
        auth_server.control.clock_shift = 100
        form = {"subject_token": subject["access_token"], "subject_token_type": ACCESS_TOKEN}
        body = token_of(ask(auth_server, "client_secret_basic", grant_type=TOKEN_EXCHANGE, **form))
        before, after = (claims_of(auth_server, t["access_token"]) for t in (subject, body))
        assert after["exp"] == before["exp"]
        assert 195 <= body["expires_in"] <= 200
        assert after["sub"] == before["sub"]

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"scope": "contacts:write"}, "invalid_scope"),
            ({"audience": "urn:unknown"}, "invalid_target"),
            ({"subject_token": "guess"}, "invalid_request"),
            ({"subject_token_type": "urn:other"}, "invalid_request"),
        ],
    )
    def test_an_exchange_never_gives_more(
        self, auth_server: AuthServer, changes: dict[str, str], error: str
    ) -> None:
        subject = token_of(ask(auth_server, "client_secret_post", grant_type="client_credentials"))
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": subject["access_token"],
            "subject_token_type": ACCESS_TOKEN,
        }
        assert error_of(ask(auth_server, "client_secret_basic", **form | changes)) == error
