"""The demo's authorization server: how clients prove who they are, and it as a process."""

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

from demo.shop.authserver import AuthServer
from demo.shop.authserver.clients import (
    CONFIDENTIAL_METHODS,
    METHODS,
)
from demo.shop.authserver.keys import generate_key
from demo.shop.tls import Certificates, Leaf
from tests.kit_authserver import ask, assertion, claims_of, error_of, token_of


class TestClientAuthentication:
    @pytest.mark.parametrize("method", [f"{m}{kind}" for m in METHODS for kind in ("", "_opaque")])
    def test_every_method_leads_to_tokens(self, tls_auth_server: AuthServer, method: str) -> None:
        server = tls_auth_server
        first = server.issue_refresh_token(method)
        answer = token_of(ask(server, method, grant_type="refresh_token", refresh_token=first))
        said = server.introspect(answer["access_token"])
        assert said["client_id"] == server.clients[method].client_id
        assert (answer["access_token"].count(".") == 2) == (not method.endswith("_opaque"))

    @pytest.mark.parametrize("method", CONFIDENTIAL_METHODS)
    def test_every_confidential_method_leads_to_client_credentials(
        self, tls_auth_server: AuthServer, method: str
    ) -> None:
        token_of(ask(tls_auth_server, method, grant_type="client_credentials"))
        assert tls_auth_server.control.token_requests(method, "client_credentials", "ok") == 1

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

    def test_a_client_id_that_is_not_its_own_is_refused(self, auth_server: AuthServer) -> None:
        other = auth_server.clients["client_secret_post"].client_id
        answer = ask(
            auth_server, "client_secret_basic", grant_type="client_credentials", client_id=other
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
    def ask_with(self, server: AuthServer, leaf: Leaf | None) -> Any:
        client = server.clients["tls_client_auth"]
        shown = type(client)(**{**vars(client), "tls": leaf})
        return ask(server, shown, grant_type="client_credentials")

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

    def test_another_certificate_than_the_self_signed_one_is_refused(
        self, tls_auth_server: AuthServer, certificates: Certificates
    ) -> None:
        client = tls_auth_server.clients["self_signed_tls_client_auth"]
        shown = type(client)(**{**vars(client), "tls": certificates.client})
        answer = ask(tls_auth_server, shown, grant_type="client_credentials")
        assert error_of(answer, 401) == "invalid_client"

    def test_the_right_subject_on_a_certificate_of_no_authority_is_refused(
        self, tls_auth_server: AuthServer, certificates: Certificates
    ) -> None:
        client = tls_auth_server.clients.variant(
            "tls_client_auth", "self_made", tls=certificates.self_signed_client
        )
        answer = ask(tls_auth_server, client, grant_type="client_credentials")
        assert error_of(answer, 401) == "invalid_client"
        assert "authority" in answer.json()["error_description"]

    def test_no_certificate_is_refused(self, tls_auth_server: AuthServer) -> None:
        assert error_of(self.ask_with(tls_auth_server, None), 401) == "invalid_client"

    def test_the_alias_endpoints_want_a_certificate_of_everybody(
        self, tls_auth_server: AuthServer
    ) -> None:
        form = {"grant_type": "client_credentials"}
        token_of(ask(tls_auth_server, "tls_client_auth", "/mtls/token", **form))
        answer = ask(tls_auth_server, "client_secret_post", "/mtls/token", **form)
        assert error_of(answer, 401) == "invalid_client"

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

    def test_nothing_secret_is_logged_at_any_level(
        self, auth_server: AuthServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        client = auth_server.clients["client_secret_post"]
        first = auth_server.issue_refresh_token(client.name)
        body = token_of(ask(auth_server, client, grant_type="refresh_token", refresh_token=first))
        assert caplog.records
        for secret in (client.secret, first, body["access_token"], body["refresh_token"]):
            assert secret not in caplog.text

    def test_nothing_secret_is_in_a_repr(self, auth_server: AuthServer) -> None:
        for client in auth_server.clients.values():
            shown = repr(client)
            assert client.secret is None or client.secret not in shown
            assert "PRIVATE" not in shown and "'d'" not in shown
