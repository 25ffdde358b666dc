"""The demo's authorization server: clients, grants, tokens, as the RFCs have them."""

from __future__ import annotations

import hmac
import json
import os
import signal
import stat
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import KeySet

from demo.shop.authserver import AuthServer
from demo.shop.authserver.clients import (
    JWT_BEARER,
    METHODS,
    TOKEN_EXCHANGE,
)
from demo.shop.authserver.keys import generate_key
from demo.shop.tls import Certificates, Leaf
from tests.kit_authserver import ask, assertion, claims_of, error_of, token_of, vouched

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class TestClientAuthentication:
    @pytest.mark.parametrize("method", [f"{m}{kind}" for m in METHODS for kind in ("", "_opaque")])
    def test_every_method_leads_to_tokens(self, tls_auth_server: AuthServer, method: str) -> None:
        server = tls_auth_server
        first = server.issue_refresh_token(method)
        answer = token_of(ask(server, method, grant_type="refresh_token", refresh_token=first))
        said = server.introspect(answer["access_token"])
        assert said["client_id"] == server.clients[method].client_id
        assert (answer["access_token"].count(".") == 2) == (not method.endswith("_opaque"))

    @pytest.mark.parametrize("alg", ["es256", "ps256", "eddsa"])
    def test_assertions_may_be_signed_by_other_algorithms(
        self, auth_server: AuthServer, alg: str
    ) -> None:
        name = f"private_key_jwt_{alg}"
        token_of(ask(auth_server, name, grant_type="client_credentials"))

    def test_ids_and_secrets_are_form_urlencoded_before_basic(
        self, auth_server: AuthServer
    ) -> None:
        token_of(ask(auth_server, "client_secret_basic_escaped", grant_type="client_credentials"))

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    def test_a_wrong_secret_is_refused(self, auth_server: AuthServer, method: str) -> None:
        client = auth_server.clients[method]
        wrong = type(client)(**{**vars(client), "secret": "wrong"})
        answer = ask(auth_server, wrong, grant_type="client_credentials")
        assert error_of(answer, 401) == "invalid_client"
        assert answer.headers["WWW-Authenticate"].startswith("Basic")

    def test_a_method_that_is_not_the_clients_own_is_refused(self, auth_server: AuthServer) -> None:
        client = auth_server.clients["client_secret_post"]
        other = type(client)(**{**vars(client), "method": "client_secret_basic"})
        assert error_of(ask(auth_server, other, grant_type="client_credentials"), 401)

    def test_two_ways_at_once_are_refused(self, auth_server: AuthServer) -> None:
        secret = auth_server.clients["client_secret_basic"].secret
        answer = ask(
            auth_server,
            "client_secret_basic",
            grant_type="client_credentials",
            client_secret=secret,
        )
        assert error_of(answer) == "invalid_request"

    @pytest.mark.parametrize(
        ("claims", "word"),
        [
            ({"aud": "https://elsewhere.example"}, "aud"),
            ({"exp": 1}, "expired"),
            ({"iat": 2**33}, "future"),
            ({"jti": None}, "jti"),
            ({"iss": "somebody"}, "iss"),
            ({"exp": 2**33}, "more than"),
        ],
    )
    @pytest.mark.parametrize("method", ["client_secret_jwt", "private_key_jwt"])
    def test_a_wrong_claim_of_an_assertion_is_refused(
        self, auth_server: AuthServer, method: str, claims: dict[str, Any], word: str
    ) -> None:
        answer = ask(auth_server, method, claims=claims, grant_type="client_credentials")
        assert error_of(answer, 401) == "invalid_client"
        assert word in answer.json()["error_description"]

    def test_an_assertion_works_once(self, auth_server: AuthServer) -> None:
        again = {"claims": {"jti": "the same"}, "grant_type": "client_credentials"}
        token_of(ask(auth_server, "private_key_jwt", **again))
        answer = ask(auth_server, "private_key_jwt", **again)
        assert error_of(answer, 401) == "invalid_client"
        assert "used before" in answer.json()["error_description"]

    def test_an_assertion_by_another_key_is_refused(self, auth_server: AuthServer) -> None:
        client = auth_server.clients["private_key_jwt"]
        stranger = type(client)(**{**vars(client), "key": generate_key("RS256")})
        assert error_of(ask(auth_server, stranger, grant_type="client_credentials"), 401)

    def test_the_public_key_is_no_hmac_secret(self, auth_server: AuthServer) -> None:
        client = auth_server.clients["private_key_jwt"]
        assert client.key
        claims = assertion(auth_server, client).split(".")[1]
        header = json.dumps({"alg": "HS256", "kid": client.kid}).encode()
        text = f"{urlsafe_b64encode(header).decode().rstrip('=')}.{claims}"
        mac = hmac.digest(client.key.as_pem(private=False), text.encode(), "sha256")
        forged = f"{text}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
        form = {"grant_type": "client_credentials", "client_assertion": forged}
        assert error_of(ask(auth_server, client, **form), 401) == "invalid_client"

    def test_public_clients_get_no_client_credentials(self, auth_server: AuthServer) -> None:
        assert error_of(ask(auth_server, "none", grant_type="client_credentials"), 401)

    def test_authlibs_own_client_is_understood(self, auth_server: AuthServer) -> None:
        client = auth_server.clients["private_key_jwt"]
        session = OAuth2Session(
            client.client_id, client.key, token_endpoint_auth_method="private_key_jwt"
        )
        endpoint = auth_server.token_endpoint
        session.register_client_auth_method(PrivateKeyJWT(endpoint, headers={"kid": client.kid}))
        assert session.fetch_token(endpoint, grant_type="client_credentials")["access_token"]


class TestCertificates:
    def ask_with(self, server: AuthServer, leaf: Leaf | None, path: str = "/token") -> Any:
        client = server.clients["tls_client_auth"]
        shown = type(client)(**{**vars(client), "tls": leaf})
        return ask(server, shown, path, grant_type="client_credentials")

    def test_tokens_are_bound_to_the_certificate(self, tls_auth_server: AuthServer) -> None:
        answer = ask(
            tls_auth_server, "self_signed_tls_client_auth", grant_type="client_credentials"
        )
        claims = claims_of(tls_auth_server, token_of(answer)["access_token"])
        assert len(claims["cnf"]["x5t#S256"]) == 43

    def test_another_subject_is_refused(
        self, tls_auth_server: AuthServer, certificates: Certificates
    ) -> None:
        answer = self.ask_with(tls_auth_server, certificates.other_client)
        assert error_of(answer, 401) == "invalid_client"

    @pytest.mark.parametrize("path", ["/token", "/mtls/token"])
    def test_no_certificate_is_refused(self, tls_auth_server: AuthServer, path: str) -> None:
        assert error_of(self.ask_with(tls_auth_server, None, path), 401) == "invalid_client"

    @pytest.mark.parametrize(
        ("name", "alert"),
        [("expired_client", "certificate expired"), ("unknown_client", "unknown ca")],
    )
    def test_a_bad_certificate_ends_the_handshake_and_the_client_is_told_why(
        self, tls_auth_server: AuthServer, certificates: Certificates, name: str, alert: str
    ) -> None:
        with pytest.raises(requests.exceptions.SSLError, match=alert):
            self.ask_with(tls_auth_server, getattr(certificates, name))
        assert tls_auth_server.control.token_requests() == 0

    def test_a_bound_token_is_useless_without_its_certificate(
        self, tls_auth_server: AuthServer, certificates: Certificates
    ) -> None:
        server, leaf = tls_auth_server, certificates.client
        first = server.issue_refresh_token("tls_client_auth", scope="openid email")
        answer = ask(server, "tls_client_auth", grant_type="refresh_token", refresh_token=first)
        bearer = {"Authorization": f"Bearer {token_of(answer)['access_token']}"}
        url, trust = f"{server.issuer}/userinfo", str(certificates.authority)
        shown = (str(leaf.certificate), str(leaf.key))
        good = requests.get(url, headers=bearer, verify=trust, cert=shown, timeout=10)
        assert good.json() == {"sub": "ada", "email": "ada@shop.example", "email_verified": True}
        bad = requests.get(url, headers=bearer, verify=trust, timeout=10)
        assert bad.status_code == 401
        assert "invalid_token" in bad.headers["WWW-Authenticate"]

    def test_keys_are_private_and_one_has_a_passphrase(self, certificates: Certificates) -> None:
        leaf = certificates.client_with_passphrase
        assert "ENCRYPTED" in leaf.key.read_text()
        assert leaf.passphrase not in repr(leaf)
        assert stat.S_IMODE(leaf.key.stat().st_mode) == 0o600


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
    @pytest.mark.parametrize("method", ["none", "client_secret_basic", "private_key_jwt"])
    def test_a_trusted_issuer_vouches_for_a_user(
        self, auth_server: AuthServer, method: str
    ) -> None:
        form = {"grant_type": JWT_BEARER, "assertion": vouched(auth_server)}
        token = token_of(ask(auth_server, method, **form))["access_token"]
        assert claims_of(auth_server, token)["sub"] == "ada"

    @pytest.mark.parametrize(
        "changes",
        [{"iss": "https://elsewhere.example"}, {"sub": "mallory"}, {"aud": "x"}, {"exp": 1}],
    )
    def test_a_wrong_assertion_is_refused(
        self, auth_server: AuthServer, changes: dict[str, Any]
    ) -> None:
        form = {"grant_type": JWT_BEARER, "assertion": vouched(auth_server, **changes)}
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
        assert claims["exp"] <= claims_of(auth_server, token_of(subject)["access_token"])["exp"]

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


class TestAsAProcess:
    def test_it_serves_and_hands_its_credentials_to_its_owner_only(self, tmp_path: Path) -> None:
        file = tmp_path / "credentials.json"
        command = [sys.executable, "-m", "demo.shop.authserver", "--credentials", str(file)]
        process = subprocess.Popen(
            [*command, "--tls", str(tmp_path / "tls")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            assert process.stdout
            issuer = process.stdout.readline().strip()
            said = json.loads(file.read_text())
            assert said["issuer"] == issuer
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            one = said["clients"]["client_secret_post"]
            form = {
                "grant_type": "client_credentials",
                "client_id": one["client_id"],
                "client_secret": one["client_secret"],
            }
            url = f"{issuer}/token"
            token_of(requests.post(url, data=form, verify=said["authority"], timeout=10))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0

    def test_nothing_secret_is_in_a_repr(self, auth_server: AuthServer) -> None:
        for client in auth_server.clients.values():
            shown = repr(client)
            assert client.secret is None or client.secret not in shown
            assert "PRIVATE" not in shown and "'d'" not in shown
