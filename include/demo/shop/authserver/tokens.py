"""Makes tokens: access tokens (opaque, or JWTs as RFC 9068 has them), refresh and ID tokens."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidScopeError, OAuth2Error
from authlib.oidc.core.util import create_half_hash
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from demo.shop.authserver.clients import Client
from demo.shop.authserver.requests import ServerRequest
from demo.shop.authserver.store import AccessToken, Family, User

if TYPE_CHECKING:
    from demo.shop.authserver.provider import Provider

ID_TOKEN_LIFETIME = 600


class InvalidTargetError(OAuth2Error):
    """A resource or audience that this server gives no tokens for (RFC 8707 section 2)."""

    error = "invalid_target"


@dataclass(frozen=True)
class Origin:
    """What a grant knows beyond the request: where the token comes from and what limits it."""

    user: User | None = None
    scope: str | None = None
    audience: list[str] | None = None
    sub: str | None = None
    family: Family | None = None
    auth_time: int | None = None
    act: dict[str, Any] | None = None
    not_after: float | None = None


def wanted_audience(request: ServerRequest, known: set[str]) -> list[str] | None:
    """What a request's ``resource`` and ``audience`` ask for; None if it has neither."""
    wanted = list(dict.fromkeys([*request.values("resource"), *request.values("audience")]))
    if any(one not in known for one in wanted):
        raise InvalidTargetError(description="The resource or audience is unknown here.")
    return wanted or None


def narrowed(request: ServerRequest, known: set[str], granted: list[str]) -> list[str]:
    """The part of what was granted that a later request asks for (RFC 8707 section 2.2)."""
    wanted = wanted_audience(request, known)
    if wanted is None:
        return granted
    if not set(wanted) <= set(granted):
        raise InvalidTargetError(description="The resource goes beyond what was granted.")
    return wanted


def certificate_thumbprint(certificate: x509.Certificate | None) -> str | None:
    """x5t#S256 of the certificate that the peer showed (RFC 8705 section 3.1)."""
    if certificate is None:
        return None
    der = certificate.public_bytes(serialization.Encoding.DER)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _thumbprint(request: ServerRequest) -> str | None:
    return certificate_thumbprint(request.certificate) if request.client.binds_tokens else None


class TokenMaker:
    """Makes tokens and stores them, for the grants of one provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def answer(self, request: ServerRequest, origin: Origin) -> dict[str, Any]:
        """The body of a token response (RFC 6749 section 5.1), without a refresh token."""
        token = self.access(request, origin)
        seconds: float = self._lifetime(request.client)
        if origin.not_after is not None:
            seconds = min(seconds, origin.not_after - token.issued_at)
        body = {
            "access_token": token.text,
            "token_type": "Bearer",
            "expires_in": int(seconds),
            "scope": token.scope,
        }
        if self._provider.control.omit_expires_in:
            del body["expires_in"]
        return body

    def access(self, request: ServerRequest, origin: Origin) -> AccessToken:
        """A new access token for the request's client, stored."""
        provider, client, now = self._provider, request.client, self._provider.clock.now()
        scope = client.get_allowed_scope(origin.scope)
        if scope is None:
            raise InvalidScopeError()
        token = AccessToken(
            text=secrets.token_urlsafe(32),
            client_id=client.client_id,
            sub=origin.sub or (origin.user.sub if origin.user else client.client_id),
            scope=scope,
            audience=origin.audience or [client.audience],
            jti=secrets.token_urlsafe(12),
            issued_at=now,
            expires_at=min(now + self._real_lifetime(client), origin.not_after or float("inf")),
            clock=provider.clock,
            user=origin.user,
            thumbprint=_thumbprint(request),
            act=origin.act,
            auth_time=origin.auth_time,
            family=origin.family,
        )
        if client.token_format == "jwt":
            token.text = self._as_jwt(token)
        provider.store.add_access(token)
        return token

    def _lifetime(self, client: Client) -> int:
        return client.lifetime or self._provider.settings.lifetime

    def _real_lifetime(self, client: Client) -> float:
        # A server that forgets early says the full time all the same.
        forget = self._provider.control.forget_after
        return self._lifetime(client) if forget is None else forget

    def _as_jwt(self, token: AccessToken) -> str:
        """RFC 9068 section 2.2; a single audience is a string, as most servers write it."""
        claims = {"iss": self._provider.issuer, **claims_of(token)}
        fault = self._provider.control.access_token_fault
        return self._provider.keys.sign(claims, "at+jwt", fault)

    def new_family(
        self,
        client: Client,
        user: User,
        scope: str,
        audience: list[str],
        *,
        auth_time: int,
        nonce: str | None = None,
    ) -> Family:
        """A family of refresh tokens, its first one made."""
        family = Family(client.client_id, user, scope, audience, auth_time, nonce)
        self._provider.store.rotate(family)
        return family

    def id_token(
        self, request: ServerRequest, body: dict[str, Any], *, auth_time: int, nonce: str | None
    ) -> str:
        """An ID token (OpenID Connect Core section 2) beside the access token of ``body``."""
        provider, now = self._provider, int(self._provider.clock.now())
        claims = {
            "iss": provider.issuer,
            "aud": request.client.client_id,
            "iat": now,
            "exp": now + ID_TOKEN_LIFETIME,
            "auth_time": auth_time,
            **user_claims(request.user, body["scope"]),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        half = create_half_hash(body["access_token"], provider.keys.alg)
        if half is not None:
            claims["at_hash"] = half.decode()
        return provider.keys.sign(claims, "JWT", provider.control.id_token_fault)


def claims_of(token: AccessToken) -> dict[str, Any]:
    """What an access token says, as RFC 9068 and RFC 7662 both name it; whole seconds."""
    claims: dict[str, Any] = {
        "sub": token.sub,
        "client_id": token.client_id,
        "aud": token.audience[0] if len(token.audience) == 1 else token.audience,
        "scope": token.scope,
        "iat": int(token.issued_at),
        "exp": int(token.expires_at),
        "jti": token.jti,
    }
    if token.auth_time is not None:
        claims["auth_time"] = token.auth_time
    if token.act is not None:
        claims["act"] = token.act
    if token.thumbprint is not None:
        claims["cnf"] = {"x5t#S256": token.thumbprint}
    return claims


def user_claims(user: User, scope: str) -> dict[str, Any]:
    """What a scope lets a client know about a user (OpenID Connect Core section 5.4)."""
    claims: dict[str, Any] = {"sub": user.sub}
    if "profile" in scope.split():
        claims["name"] = user.name
    if "email" in scope.split():
        claims |= {"email": user.email, "email_verified": True}
    return claims
