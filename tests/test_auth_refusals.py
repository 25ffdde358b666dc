"""What is refused, and the message that says what to do; retriable only where waiting can help."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from demo.shop.authserver import AuthServer
from demo.shop.tls import Certificates, Leaf
from sinew.auth.checks import keys_of, validate_access_token
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.life import TokenSource
from sinew.auth.server import AuthorizationServer
from sinew.auth.session import open_session
from sinew.auth.store import MemoryTokenStore
from sinew.errors import (
    AuthenticationError,
    LoginNeededError,
    RetriableError,
    TlsError,
    TokenInvalidError,
    TokenRefusedError,
)
from tests.fix_auth import Api, client_endpoint, endpoint, extra_of, serving

BASIC = "client_secret_basic"


def refused(end: ApiEndpoint, error: type[Exception] = TokenRefusedError) -> str:
    """The message of a token that cannot be got."""
    with pytest.raises(error) as raised:
        TokenSource(end, MemoryTokenStore()).current()
    assert not isinstance(raised.value, RetriableError)
    return str(raised.value)


class TestAWrongSecret:
    @pytest.mark.parametrize("method", [BASIC, "client_secret_post", "client_secret_jwt"])
    def test_says_which_field_to_correct_and_not_the_secret(
        self, method: str, auth_server: AuthServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        wrong = "pl4nted-secret-of-more-than-thirty-two-bytes"
        message = refused(client_endpoint(auth_server, method, client_secret=wrong))
        assert "invalid_client" in message
        assert "correct client_id (login) and client_secret (password)" in message
        assert method in message
        assert wrong not in message + caplog.text

    def test_a_key_that_is_not_registered_says_so(self, auth_server: AuthServer) -> None:
        other = auth_server.clients["private_key_jwt_es256"]
        end = client_endpoint(
            auth_server, "private_key_jwt", private_key=other.private_pem, key_id=other.kid, algorithm="ES256"
        )  # fmt: skip
        assert "register the public key of auth.private_key" in refused(end)

    def test_a_key_that_cannot_be_read_says_what_is_allowed(self, auth_server: AuthServer) -> None:
        message = refused(
            client_endpoint(auth_server, "private_key_jwt", private_key="pl4nted"),
            AuthenticationError,
        )
        assert "auth.private_key" in message
        assert "PEM" in message
        assert "pl4nted" not in message

    def test_a_scope_that_is_not_given_says_so(self, auth_server: AuthServer) -> None:
        assert "correct auth.scope" in refused(client_endpoint(auth_server, BASIC, scope="admin"))

    def test_a_resource_that_is_unknown_says_so(self, auth_server: AuthServer) -> None:
        message = refused(client_endpoint(auth_server, BASIC, resource="https://nowhere.example"))
        assert "correct auth.resource or auth.audience" in message


class TestAClockThatIsOff:
    @pytest.mark.parametrize(("shift", "side"), [(600, "behind"), (-600, "ahead of")])
    @pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_jwt"])
    def test_is_named_when_an_assertion_is_refused(
        self, method: str, shift: float, side: str, auth_server: AuthServer
    ) -> None:
        auth_server.control.clock_shift = shift
        message = refused(client_endpoint(auth_server, method))
        assert re.search(
            rf"this machine's clock is (10 min \d+ s|9 min 5\d s) {side} the server's", message
        )
        assert "set the clock" in message

    def test_is_named_for_the_grant_by_assertion(self, auth_server: AuthServer) -> None:
        (issuer,) = auth_server.issuers.values()
        assertion = {
            "issuer": issuer.issuer,
            "subject": "ada",
            "private_key": issuer.private_pem,
            "key_id": issuer.key.kid,
        }
        auth_server.control.clock_shift = 600
        message = refused(client_endpoint(auth_server, BASIC, "jwt_bearer", assertion=assertion))
        assert "invalid_grant" in message
        assert "behind the server's" in message

    def test_is_not_blamed_when_it_is_right(self, auth_server: AuthServer) -> None:
        assert "clock" not in refused(
            client_endpoint(auth_server, "client_secret_jwt", client_secret="x" * 40)
        )

    def test_does_not_matter_where_nothing_is_signed(self, auth_server: AuthServer) -> None:
        auth_server.control.clock_shift = 600
        assert TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()

    def test_is_named_for_an_id_token_too(self, auth_server: AuthServer) -> None:
        server = AuthorizationServer(client_endpoint(auth_server, BASIC))
        auth_server.control.clock_shift = -4000
        token = TokenSource(
            client_endpoint(auth_server, BASIC), MemoryTokenStore(), server
        ).current()
        with pytest.raises(
            TokenInvalidError, match="expired at .* ahead of the server's"
        ) as raised:
            validate_access_token(
                token, keys=keys_of(server), issuer=auth_server.issuer, audience="urn:demo:shop", skew=server.skew
            )  # fmt: skip
        assert raised.value.claim == "exp"


class TestARevokedToken:
    def test_an_access_token_is_renewed_without_a_word(
        self, auth_server: AuthServer, guarded_api: Api
    ) -> None:
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        session = open_session(end, MemoryTokenStore())
        session.get("/")
        auth_server.control.forget_access_tokens()
        assert session.get("/").status_code == 200

    def test_a_refresh_token_asks_for_a_login(self, auth_server: AuthServer) -> None:
        first = auth_server.issue_refresh_token(BASIC)
        end = client_endpoint(auth_server, BASIC, "refresh_token", refresh_token=first)
        TokenSource(end, MemoryTokenStore()).current()
        # Used again, by somebody who has another store: the server ends the family.
        message = refused(end, LoginNeededError)
        assert "refused its refresh token" in message
        assert "put a new refresh_token into connection 'shop_api'" in message
        assert first not in message


class TestAServerThatIsDown:
    def test_is_worth_a_retry(self) -> None:
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": "http://127.0.0.1:9/token",
            "client_id": "c",
            "client_secret": "pl4nted",
        }
        with pytest.raises(
            RetriableError, match="cannot be reached .connection refused.: try again later"
        ) as raised:
            TokenSource(endpoint({"auth": auth}), MemoryTokenStore()).current()
        assert "pl4nted" not in str(raised.value)

    def test_that_hangs_is_worth_a_retry(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(3, "hang", seconds=3)
        extra = extra_of(auth_server, auth_server.clients[BASIC], "client_credentials")
        end = endpoint(extra | {"timeout": {"connect": 0.5, "read": 0.2}})
        with pytest.raises(RetriableError, match="did not answer in time"):
            TokenSource(end, MemoryTokenStore()).current()

    def test_that_says_503_is_worth_a_retry(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(3, "unavailable")
        with pytest.raises(RetriableError, match="answered 503"):
            TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()


class TestDiscovery:
    def test_of_another_issuer_is_refused(self, auth_server: AuthServer) -> None:
        auth_server.control.issuer_in_discovery = "https://evil.example"
        message = refused(client_endpoint(auth_server, BASIC), AuthenticationError)
        assert "issuer 'https://evil.example'" in message
        assert "correct auth.issuer" in message
        assert auth_server.control.token_requests() == 0

    def test_a_slash_at_the_end_is_another_issuer(self, auth_server: AuthServer) -> None:
        end = client_endpoint(auth_server, BASIC, issuer=auth_server.issuer + "/")
        assert "a slash at its end counts" in refused(end, AuthenticationError)

    @pytest.mark.parametrize("path", ["", "/tenant"])
    def test_falls_back_to_the_document_of_rfc_8414(self, path: str, api: Api) -> None:
        issuer = api.url + path

        def respond(request: Any) -> Any:
            if request.path == f"/.well-known/oauth-authorization-server{path}":
                document = f'{{"issuer": "{issuer}", "token_endpoint": "{api.url}/token"}}'
                return 200, {"Content-Type": "application/json"}, document.encode()
            if request.path == "/token":
                return 200, {}, b'{"access_token": "a", "token_type": "Bearer"}'
            return 404, {}, b""

        api.respond = respond
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "issuer": issuer,
            "client_id": "c",
            "client_secret": "s",
        }
        assert TokenSource(endpoint({"auth": auth}), MemoryTokenStore()).current() == "a"

    def test_an_endpoint_in_clear_is_refused(self, api: Api) -> None:
        api.respond = lambda request: (
            200,
            {},
            f'{{"issuer": "{api.url}", "token_endpoint": "http://id.example/token"}}'.encode(),
        )
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "issuer": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "allowed: https" in refused(endpoint({"auth": auth}), AuthenticationError)

    def test_a_redirect_is_not_followed_with_the_secret(self, api: Api) -> None:
        api.respond = lambda request: (307, {"Location": "http://127.0.0.1:9/steal"}, b"")
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "a redirect, which is not followed" in refused(
            endpoint({"auth": auth}), AuthenticationError
        )


class TestWhatAServerWrites:
    def answer(self, api: Api, body: bytes, status: int = 400) -> str:
        api.respond = lambda request: (status, {"Content-Type": "application/json"}, body)
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "pl4nted-s3cret",
        }
        return refused(endpoint({"auth": auth}))

    def test_is_cut_and_cleaned(self, api: Api) -> None:
        message = self.answer(
            api,
            b'{"error": "invalid_request", "error_description": "line\\n\\u001b[31m'
            + b"x" * 5000
            + b'"}',
        )
        assert "\n" not in message and "\x1b" not in message
        assert len(message) < 600

    def test_never_repeats_what_was_sent(self, api: Api) -> None:
        message = self.answer(
            api, b'{"error": "invalid_client", "error_description": "pl4nted-s3cret is wrong"}'
        )
        assert "(*** is wrong)" in message

    def test_an_error_with_status_200_is_an_error(self, api: Api) -> None:
        assert "answered invalid_scope" in self.answer(api, b'{"error": "invalid_scope"}', 200)

    def test_another_kind_of_token_is_refused(self, api: Api) -> None:
        api.respond = lambda request: (200, {}, b'{"access_token": "a", "token_type": "DPoP"}')
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "of type 'DPoP'; allowed: Bearer" in refused(
            endpoint({"auth": auth}), AuthenticationError
        )


@pytest.fixture
def tls_api(certificates: Certificates) -> Iterator[Api]:
    """An API over TLS that demands a client certificate of the demo's authority."""
    with serving(context=demanding(certificates)) as api:
        yield api


def demanding(certificates: Certificates, leaf: Leaf | None = None) -> ssl.SSLContext:
    context = certificates.server_context(leaf)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def tls_of(certificates: Certificates, leaf: Leaf | None = None, **more: str) -> dict[str, Any]:
    block = {"ca": str(certificates.authority)}
    if leaf is not None:
        block |= {"certificate": str(leaf.certificate), "key": str(leaf.key)}
        if leaf.passphrase:
            block["key_passphrase"] = leaf.passphrase
    return {"tls": block | more}


def tls_error(url: str, extra: dict[str, Any]) -> str:
    with pytest.raises(TlsError) as raised:
        open_session(endpoint(extra, url), MemoryTokenStore()).get("/")
    return str(raised.value)


class TestCertificates:
    def test_a_private_ca_and_a_client_certificate_are_taken(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        for leaf in (certificates.client, certificates.client_with_passphrase):
            session = open_session(
                endpoint(tls_of(certificates, leaf), tls_api.url), MemoryTokenStore()
            )
            assert session.get("/").status_code == 200
            assert tls_api.requests[-1].certificate == ssl.PEM_cert_to_DER_cert(
                leaf.certificate.read_text().split("-----END CERTIFICATE-----")[0]
                + "-----END CERTIFICATE-----\n"
            )

    @pytest.mark.parametrize("escaped", [False, True])
    def test_pem_may_stand_in_the_connection(
        self, escaped: bool, tls_api: Api, certificates: Certificates
    ) -> None:
        block = {
            "ca": certificates.authority.read_text(),
            "certificate": certificates.client_with_passphrase.certificate.read_text(),
            "key": certificates.client_with_passphrase.key.read_text(),
        }
        if escaped:
            block = {name: text.strip().replace("\n", "\\n") for name, text in block.items()}
        block["key_passphrase"] = certificates.client_with_passphrase.passphrase or ""
        session = open_session(endpoint({"tls": block}, tls_api.url), MemoryTokenStore())
        assert session.get("/").status_code == 200

    def test_an_expired_one_of_ours_is_told_before_it_is_sent(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        message = tls_error(tls_api.url, tls_of(certificates, certificates.expired_client))
        assert re.search(r"our client certificate expired on \d{4}-", message)
        assert "have it renewed" in message

    def test_an_unknown_ca_of_the_server_says_where_to_put_it(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        message = tls_error(tls_api.url, {"tls": {"ca": str(certificates.unknown_authority)}})
        assert "signed by an unknown CA" in message
        assert "tls.ca" in message
        assert "unknown CA" in tls_error(tls_api.url, {})

    def test_a_server_with_another_name_is_refused(self, certificates: Certificates) -> None:
        with serving(context=certificates.server_context(certificates.wrong_host_server)) as api:
            message = tls_error(api.url, tls_of(certificates))
        assert "is for another name than this host's" in message

    def test_a_server_whose_certificate_expired_is_refused(self) -> None:
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        old = yesterday - timedelta(days=30)
        authority.issue_cert("127.0.0.1", not_before=old, not_after=yesterday).configure_cert(
            context
        )
        block = {"ca": authority.cert_pem.bytes().decode()}
        with serving(context=context) as api:
            message = tls_error(api.url, {"tls": block})
        assert "has expired: whoever runs it must renew it" in message

    def test_a_missing_certificate_of_ours_is_asked_for(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        message = tls_error(tls_api.url, tls_of(certificates))
        assert "demands a client certificate: give tls.certificate and tls.key" in message

    def test_one_of_an_unknown_ca_is_refused_by_the_server(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        message = tls_error(tls_api.url, tls_of(certificates, certificates.unknown_client))
        assert "does not know the CA of our client certificate" in message

    @pytest.mark.parametrize(
        ("more", "word"),
        [
            ({"key_passphrase": "pl4nted"}, "does not open it"),
            ({"key": "pl4nted"}, "neither PEM nor a file"),
            (
                {"certificate": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"},
                "holds no certificate",
            ),
            (
                {"ca": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"},
                "tls.ca holds no certificate",
            ),
        ],
    )
    def test_what_cannot_be_read_says_which(
        self, more: dict[str, str], word: str, tls_api: Api, certificates: Certificates
    ) -> None:
        message = tls_error(
            tls_api.url, tls_of(certificates, certificates.client_with_passphrase, **more)
        )
        assert word in message
        assert "pl4nted" not in message

    def test_a_key_without_its_passphrase_says_so(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        extra = tls_of(certificates, certificates.client_with_passphrase)
        del extra["tls"]["key_passphrase"]
        assert "tls.key_passphrase is missing" in tls_error(tls_api.url, extra)

    def test_a_key_of_another_certificate_says_so(
        self, tls_api: Api, certificates: Certificates
    ) -> None:
        extra = tls_of(certificates, certificates.client, key=str(certificates.other_client.key))
        assert "give the pair that was issued together" in tls_error(tls_api.url, extra)

    def test_no_key_is_left_on_disk(
        self,
        tls_api: Api,
        certificates: Certificates,
        tmp_path: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        import os
        import tempfile

        # Where a system has no files in memory.
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        seen: list[Any] = []
        load = ssl.SSLContext.load_cert_chain

        def watch(self: ssl.SSLContext, certificate: str, key: str, phrase: Any) -> None:
            seen.extend(os.stat(path).st_mode & 0o777 for path in (certificate, key))
            load(self, certificate, key, phrase)

        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
        open_session(
            endpoint(tls_of(certificates, certificates.client), tls_api.url), MemoryTokenStore()
        )
        assert seen == [0o600, 0o600]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
    def test_tls_1_1_is_not_spoken(self, certificates: Certificates) -> None:
        context = certificates.server_context()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with serving(context=context) as api:
            message = tls_error(api.url, tls_of(certificates))
        assert "speaks no TLS of version 1.2 or later" in message

    def test_plain_http_on_a_tls_port_says_so(self, api: Api) -> None:
        message = tls_error(api.url.replace("http:", "https:"), {})
        assert "does not speak TLS on this port" in message

    def test_verification_cannot_be_switched_off(
        self, tls_api: Api, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = open_session(
            endpoint(tls_of(certificates, certificates.client), tls_api.url), MemoryTokenStore()
        )
        with pytest.raises(AuthenticationError, match="name a private CA in tls.ca"):
            session.get("/", verify=False)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        session.verify = False
        with pytest.raises(AuthenticationError, match="name a private CA in tls.ca"):
            session.get("/")
        assert tls_api.requests == []

    def test_the_environment_does_not_switch_certificates(
        self, tls_api: Api, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.unknown_authority))
        session = open_session(
            endpoint(tls_of(certificates, certificates.client), tls_api.url), MemoryTokenStore()
        )
        assert session.get("/").status_code == 200

    def test_a_private_ca_of_the_environment_is_trusted_where_none_is_named(
        self,
        tls_auth_server: AuthServer,
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
        extra = extra_of(tls_auth_server, tls_auth_server.clients[BASIC], "client_credentials")
        del extra["tls"]
        assert TokenSource(endpoint(extra), MemoryTokenStore()).current()


class TestATokenBoundToACertificate:
    def test_names_the_certificate_that_asked_for_it(
        self, tls_auth_server: AuthServer, certificates: Certificates
    ) -> None:
        end = client_endpoint(tls_auth_server, "tls_client_auth")
        server = AuthorizationServer(end)
        token = TokenSource(end, MemoryTokenStore(), server).current()
        proven = validate_access_token(
            token, keys=keys_of(server), issuer=tls_auth_server.issuer, audience="urn:demo:shop", thumbprint=server.thumbprint
        )  # fmt: skip
        assert proven.claims["cnf"] == {"x5t#S256": server.thumbprint}

    @pytest.mark.parametrize("other", [None, "A" * 43])
    def test_is_refused_with_another(self, other: str | None, tls_auth_server: AuthServer) -> None:
        end = client_endpoint(tls_auth_server, "tls_client_auth")
        server = AuthorizationServer(end)
        token = TokenSource(end, MemoryTokenStore(), server).current()
        with pytest.raises(
            TokenInvalidError, match="bound to a certificate that the request did not come with"
        ):
            validate_access_token(
                token, keys=keys_of(server), issuer=tls_auth_server.issuer, audience="urn:demo:shop", thumbprint=other
            )  # fmt: skip

    def test_to_another_than_ours_is_not_used(self, api: Api) -> None:
        import json
        from base64 import urlsafe_b64encode

        parts = [{"alg": "RS256"}, {"cnf": {"x5t#S256": "other"}}]
        token = (
            ".".join(
                urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
            )
            + ".c2ln"
        )
        api.respond = lambda request: (
            200,
            {},
            json.dumps({"access_token": token, "token_type": "Bearer"}).encode(),
        )
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "use one certificate in tls for both servers" in refused(
            endpoint({"auth": auth}), TokenInvalidError
        )

    def test_is_asked_for_anew_with_a_new_certificate(
        self, tls_auth_server: AuthServer, certificates: Certificates
    ) -> None:
        store = MemoryTokenStore()
        end = client_endpoint(tls_auth_server, "tls_client_auth")
        first = TokenSource(end, store).current()
        assert TokenSource(end, store).current() == first
        block = {
            "ca": str(certificates.authority),
            "certificate": str(certificates.self_signed_client.certificate),
            "key": str(certificates.self_signed_client.key),
        }
        extra = extra_of(
            tls_auth_server, tls_auth_server.clients["tls_client_auth"], "client_credentials"
        )
        other = endpoint(extra | {"tls": block})
        assert other.slot == end.slot
        with pytest.raises(TokenRefusedError, match="register the subject or thumbprint"):
            TokenSource(other, store).current()


class TestTwoServersWithTlsOfTheirOwn:
    def test_each_sees_the_certificate_that_is_meant_for_it(
        self, tls_auth_server: AuthServer, tls_api: Api, certificates: Certificates
    ) -> None:
        client = tls_auth_server.clients["tls_client_auth"]
        extra = extra_of(tls_auth_server, client, "client_credentials")
        extra["auth"]["tls"] = extra.pop("tls")
        other = tls_of(certificates, certificates.other_client)
        end = endpoint(extra | other, tls_api.url)
        assert open_session(end, MemoryTokenStore()).get("/").status_code == 200
        told = tls_auth_server.introspect(tls_api.requests[0].token)
        assert told["cnf"] == {"x5t#S256": AuthorizationServer(end).thumbprint}
        seen = ssl.DER_cert_to_PEM_cert(tls_api.requests[0].certificate or b"")
        assert seen == ssl.DER_cert_to_PEM_cert(
            certificates.other_client.x509.public_bytes(serialization.Encoding.DER)
        )

    def test_a_client_with_a_certificate_goes_where_the_document_sends_it(
        self, tls_auth_server: AuthServer
    ) -> None:
        by_tls = AuthorizationServer(client_endpoint(tls_auth_server, "tls_client_auth"))
        by_secret = AuthorizationServer(client_endpoint(tls_auth_server, BASIC))
        assert by_tls.url("token_endpoint", "it") == f"{tls_auth_server.issuer}/mtls/token"
        assert by_secret.url("token_endpoint", "it") == f"{tls_auth_server.issuer}/token"
