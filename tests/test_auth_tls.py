"""Certificates: ours, theirs, and tokens that are bound to them; each refusal in words."""

from __future__ import annotations

import json
import os
import re
import ssl
import tempfile
from base64 import urlsafe_b64encode
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
