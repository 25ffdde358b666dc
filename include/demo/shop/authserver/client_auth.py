"""Which client is asking, and how it proves that.

A request may use one way only (RFC 6749 section 2.3), the one that its client is registered for.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from joserfc import jwt
from joserfc.errors import JoseError

from demo.shop.authserver.clients import ASSERTION_METHODS, TLS_METHODS, Client, thumbprint
from demo.shop.authserver.keys import verify
from demo.shop.authserver.requests import ServerRequest

if TYPE_CHECKING:
    from demo.shop.authserver.provider import Provider

QueryClient = Callable[[str], Client | None]
LEEWAY = 60  # seconds that a client's clock may be off
MAX_ASSERTION_LIFETIME = 3600


def refused(description: str) -> InvalidClientError:
    """The error for a client that did not prove who it is."""
    return InvalidClientError(description=description, status_code=401)


def check_jwt_claims(
    claims: dict[str, Any], audiences: list[str], now: float, **essential: Any
) -> None:
    """Check aud, exp, iat and nbf of an assertion (RFC 7523 section 3); JoseError if one is off."""
    registry = jwt.JWTClaimsRegistry(
        now=lambda: int(now),
        leeway=LEEWAY,
        iss={"essential": True},
        sub={"essential": True},
        exp={"essential": True},
        aud={"essential": True, "values": audiences},
        **essential,
    )
    registry.validate(claims)


def presented_method(request: ServerRequest, query_client: QueryClient) -> tuple[str, str | None]:
    """The way to authenticate that a request uses, and the client id that it says."""
    form, authorization = request.form, request.headers.get("Authorization") or ""
    ways = {
        "client_secret_basic": authorization.lower().startswith("basic "),
        "client_secret_post": "client_secret" in form,
        "assertion": "client_assertion" in form or "client_assertion_type" in form,
    }
    used = [way for way, present in ways.items() if present]
    if len(used) > 1:
        raise InvalidRequestError(description="More than one way to authenticate was used.")
    client_id = form.get("client_id")
    if used == ["client_secret_basic"]:
        return used[0], basic_credentials(authorization)[0]
    if used == ["assertion"]:
        client_id = _assertion_subject(form.get("client_assertion", ""))
        client = query_client(client_id or "")
        return (client.method if client else "private_key_jwt"), client_id
    if used:
        return used[0], client_id
    client = query_client(client_id or "")
    return (client.method if client and client.method in TLS_METHODS else "none"), client_id


def basic_credentials(authorization: str) -> tuple[str, str]:
    """Id and secret, each form-urlencoded before it was put together (RFC 6749 section 2.3.1)."""
    try:
        text = base64.b64decode(authorization.split(None, 1)[1], validate=True).decode()
        client_id, secret = text.split(":", 1)
    except (IndexError, ValueError, binascii.Error):
        raise refused("The Basic credentials cannot be read.") from None
    return unquote_plus(client_id), unquote_plus(secret)


def authenticate_basic(query_client: QueryClient, request: ServerRequest) -> Client | None:
    """``client_secret_basic``."""
    client_id, secret = basic_credentials(request.headers["Authorization"])
    client = query_client(client_id)
    return client if client and client.check_client_secret(secret) else None


def _assertion_subject(assertion: str) -> str | None:
    """What an assertion says that it is about, not verified yet."""
    try:
        part = assertion.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        subject = claims["sub"]
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return subject if isinstance(subject, str) else None


class Assertion(JWTBearerClientAssertion):
    """``client_secret_jwt`` and ``private_key_jwt`` (RFC 7523 section 2.2)."""

    def __init__(self, provider: Provider, method: str) -> None:
        super().__init__()
        self.CLIENT_AUTH_METHOD = method
        self._provider = provider

    def process_assertion_claims(self, assertion: str, resolve_key: Any) -> dict[str, Any]:
        client = self._provider.query_client(_assertion_subject(assertion) or "")
        if client is None or client.method not in ASSERTION_METHODS or client.alg is None:
            raise refused("The client does not authenticate by an assertion.")
        try:
            # The client's own algorithm, whatever the header says (RFC 8725 section 3.1).
            claims = verify(assertion, resolve_key, client.alg)
        except (JoseError, ValueError):
            raise refused("The assertion's signature or algorithm is wrong.") from None
        self.verify_claims(claims)
        return claims

    def verify_claims(self, claims: dict[str, Any]) -> None:
        now = self._provider.clock.now()
        try:
            check_jwt_claims(claims, self.get_audiences(), now, jti={"essential": True})
        except JoseError as error:
            raise refused(f"Client assertion: {error.description}") from None
        if claims["sub"] != claims["iss"]:
            raise refused("Client assertion: iss and sub must both be the client id.")
        if claims["exp"] > now + LEEWAY + MAX_ASSERTION_LIFETIME:
            raise refused(f"Client assertion: good for more than {MAX_ASSERTION_LIFETIME} s.")
        if not self.validate_jti(claims, claims["jti"]):
            raise refused("Client assertion: this jti was used before.")

    def get_audiences(self) -> list[str]:
        return self._provider.own_audiences()

    def validate_jti(self, claims: dict[str, Any], jti: Any) -> bool:
        owner = f"client_assertion {claims['sub']}"
        return self._provider.store.first_sight(owner, str(jti), claims["exp"] + LEEWAY)

    def resolve_client_public_key(self, client: Client) -> Any:
        return client.verification_keys()


class TlsAuthentication:
    """``tls_client_auth`` by subject, ``self_signed_tls_client_auth`` by thumbprint (RFC 8705)."""

    def __init__(self, authority: x509.Certificate) -> None:
        self._authority = authority

    def by_authority(self, query_client: QueryClient, request: ServerRequest) -> Client | None:
        """A certificate of the authority with the registered subject, compared by RFC 4514."""
        client, certificate = _tls_client(query_client, request)
        if certificate.subject.rfc4514_string() != client.tls.subject:
            raise refused("The certificate's subject is not the registered one.")
        try:
            certificate.verify_directly_issued_by(self._authority)
        except (InvalidSignature, TypeError, ValueError):
            raise refused("The certificate is not from this server's authority.") from None
        return client

    def self_signed(self, query_client: QueryClient, request: ServerRequest) -> Client | None:
        """Exactly the registered certificate."""
        client, certificate = _tls_client(query_client, request)
        if certificate.fingerprint(hashes.SHA256()) != thumbprint(client.tls):
            raise refused("The certificate is not the registered one.")
        return client


def _tls_client(
    query_client: QueryClient, request: ServerRequest
) -> tuple[Client, x509.Certificate]:
    client = query_client(request.form.get("client_id", ""))
    if client is None or client.tls is None:
        raise refused("The client is unknown or has no certificate.")
    if request.certificate is None:
        raise refused("No client certificate was shown.")
    return client, request.certificate
