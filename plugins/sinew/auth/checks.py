"""Proof of a token that was given to us: ID tokens as a client, JWT access tokens as a resource server."""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from authlib.oidc.core.claims import CodeIDToken
from joserfc import jwt
from joserfc.errors import (
    BadSignatureError,
    ClaimError,
    ExpiredTokenError,
    JoseError,
    MissingClaimError,
)
from joserfc.jws import extract_compact

from sinew.auth.answers import clock_words, plain
from sinew.auth.jwks import KeySource
from sinew.auth.peeking import unverified_claims
from sinew.auth.server import AuthorizationServer
from sinew.auth.store import StoredToken
from sinew.errors import TokenInvalidError

# Signatures that only the issuer can make. None of HMAC, whose key is shared, and never `none`.
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")  # fmt: skip
_LONGEST = 100_000  # characters; more is no token but an attack on the parser


@dataclass(frozen=True)
class Proven:
    """A token that stood up to every check."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def validate_id_token(
    token: str,
    *,
    keys: KeySource,
    issuer: str,
    client_id: str,
    nonce: str | None = None,
    access_token: str | None = None,
    algorithms: Collection[str] = ASYMMETRIC,
    leeway: int = 60,
    skew: float | None = None,
) -> Proven:
    """OpenID Connect Core §3.1.3.7: signature, iss, aud, azp, exp, iat, nbf, nonce, at_hash.

    ``leeway`` is in seconds; ``skew`` (seconds that the issuer's clock is ahead) is for the message
    only. Raises TokenInvalidError whose ``claim`` says what failed.
    """
    proven = _signature(token, keys, algorithms, "ID token")
    options = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": client_id},
    }
    params = {"nonce": nonce, "client_id": client_id, "access_token": access_token}
    claims = CodeIDToken(proven.claims, proven.header, options, params)
    expected = {"iss": issuer, "aud": client_id, "azp": client_id}
    _judge(claims, "ID token", expected, leeway, skew)
    return proven


def validate_access_token(
    token: str,
    *,
    keys: KeySource,
    issuer: str,
    audience: str | Sequence[str],
    scopes: Collection[str] = (),
    thumbprint: str | None = None,
    algorithms: Collection[str] = ASYMMETRIC,
    leeway: int = 60,
    skew: float | None = None,
) -> Proven:
    """RFC 9068 §4, as a resource server: typ, signature, iss, aud, exp, iat, nbf, scopes.

    ``thumbprint`` is that of the certificate that the request came with; a token that is bound to
    another one, or that came without, is refused (RFC 8705 §3). Raises TokenInvalidError.
    """
    proven = _signature(token, keys, algorithms, "access token")
    if str(proven.header.get("typ", "")).lower() not in ("at+jwt", "application/at+jwt"):
        raise TokenInvalidError(
            f"the token's typ is {plain(proven.header.get('typ'), 40) or 'none'!r}; allowed: at+jwt, so that no "
            "ID token passes for an access token: send an access token",
            "typ",
        )
    wanted = [audience] if isinstance(audience, str) else list(audience)
    options: dict[str, Any] = {
        name: {"essential": True} for name in ("exp", "sub", "client_id", "iat", "jti")
    }
    options |= {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "values": wanted},
    }
    claims = JWTAccessTokenClaims(proven.claims, proven.header, options)
    _judge(claims, "access token", {"iss": issuer, "aud": ", ".join(wanted)}, leeway, skew)
    _scopes(proven.claims, scopes)
    _binding(proven.claims, thumbprint)
    return proven


def _signature(token: str, keys: KeySource, algorithms: Collection[str], what: str) -> Proven:
    allowed = ", ".join(algorithms)
    header = _header(token, what)
    algorithm = header.get("alg")
    # Before any key is looked at: with `none` there is no signature, and with HS256 a public key
    # would serve as the secret.
    if algorithm not in algorithms:
        raise TokenInvalidError(
            f"the {what} is signed with alg {plain(algorithm, 20) or 'missing'!r}; allowed: {allowed}: have the client "
            "registered for one of these, and beware of whoever made this token",
            "alg",
        )
    try:
        found = jwt.decode(token, keys.key(header), algorithms=list(algorithms))
    except BadSignatureError:
        raise TokenInvalidError(
            f"the signature of the {what} is not its issuer's: do not use it, and look who made it",
            "signature",
        ) from None
    except (JoseError, ValueError) as error:
        reason = plain(getattr(error, "description", ""), 80) or type(error).__name__
        raise TokenInvalidError(
            f"the {what} cannot be read ({reason}): get a new one", "format"
        ) from None
    return Proven(found.header, found.claims)


def _header(token: str, what: str) -> Mapping[str, Any]:
    try:
        if len(token) > _LONGEST:
            raise ValueError
        return extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError):
        raise TokenInvalidError(
            f"the {what} is no signed JWT; allowed: three parts with dots between: get a new one, or ask the "
            "issuer's introspection endpoint if its tokens are opaque",
            "format",
        ) from None


def _judge(
    claims: Any, what: str, expected: Mapping[str, str], leeway: int, skew: float | None
) -> None:
    try:
        claims.validate(now=int(time.time()), leeway=leeway)
    except ExpiredTokenError:
        raise TokenInvalidError(
            f"the {what} expired at {_time(claims.get('exp'))}, and it is {_time(time.time())}: get a new "
            f"one{clock_words(skew)}",
            "exp",
        ) from None
    except MissingClaimError as error:
        raise TokenInvalidError(
            f"the {what} has no {error.claim}; it is needed: have its issuer add it", error.claim
        ) from None
    except ClaimError as error:
        raise TokenInvalidError(
            _wrong_claim(claims, error.claim, what, expected, skew), error.claim
        ) from None


def _wrong_claim(
    claims: Mapping[str, Any],
    claim: str,
    what: str,
    expected: Mapping[str, str],
    skew: float | None,
) -> str:
    if claim in expected:
        seen = claims.get(claim)
        shown = plain(", ".join(map(str, seen)) if isinstance(seen, list) else str(seen))
        remedy = {
            "iss": "it is of another issuer: correct auth.issuer",
            "aud": "it is for somebody else: ask for one with the right audience or resource",
            "azp": "it was made for another client: log in with this one",
        }[claim]
        return f"the {what} has {claim} {shown!r}; allowed: {expected[claim]}: {remedy}"
    if claim in ("iat", "nbf"):
        return (
            f"the {what} is from the future: {claim} is {_time(claims.get(claim))}, and it is {_time(time.time())}: "
            f"set this machine's clock or the issuer's{clock_words(skew)}"
        )
    if claim == "nonce":
        return (
            f"the {what} has another nonce than this login asked for: it belongs to another login, or was "
            "slipped in: log in again"
        )
    if claim == "at_hash":
        return f"the {what} belongs to another access token than it came with: log in again"
    return f"the {what} has a {claim} that is not allowed: get a new one from its issuer"


def _time(value: Any) -> str:
    try:
        return f"{datetime.fromtimestamp(float(value), UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (TypeError, ValueError, OverflowError, OSError):
        return "no time"


def _scopes(claims: Mapping[str, Any], needed: Collection[str]) -> None:
    said = claims.get("scope", "")
    granted = set(said.split()) if isinstance(said, str) else set()
    if missing := sorted(set(needed) - granted):
        raise TokenInvalidError(
            f"the access token lacks the scope {' '.join(missing)}; it has "
            f"{plain(' '.join(sorted(granted))) or 'none'}: ask for it in auth.scope",
            "scope",
        )


def _binding(claims: Mapping[str, Any], thumbprint: str | None) -> None:
    confirmation = claims.get("cnf")
    if confirmation is None:
        return
    bound = confirmation.get("x5t#S256") if isinstance(confirmation, Mapping) else None
    # Another way of binding (RFC 9449) that we cannot check is no reason to wave a token through.
    if not isinstance(bound, str) or not hmac.compare_digest(
        bound.encode(), (thumbprint or "").encode()
    ):
        raise TokenInvalidError(
            "the access token is bound to a certificate that the request did not come with: send it over "
            "mutual TLS with the certificate that it was asked for with",
            "cnf",
        )


def keys_of(server: AuthorizationServer, purpose: str = "checking a token") -> KeySource:
    """The keys of an authorization server, by its jwks_uri."""

    def fetch() -> Mapping[str, Any]:
        answer = server.get_json(server.url("jwks_uri", purpose))
        assert answer is not None
        return answer.body

    return KeySource(fetch)


def check_id_token(
    server: AuthorizationServer, token: StoredToken, nonce: str | None
) -> Mapping[str, Any]:
    """Prove the ID token that came with an access token; returns its claims."""
    auth = server.auth
    issuer = auth.issuer
    if issuer is None or auth.client_id is None or token.id_token is None:
        raise TokenInvalidError(
            "an ID token came, or scope openid asked for one, but auth.issuer is not set to check it by, or no "
            "token came: add auth.issuer, or remove openid from auth.scope",
            "iss",
        )
    keys = keys_of(server, "checking the ID token")
    return validate_id_token(
        token.id_token,
        keys=keys,
        issuer=issuer,
        client_id=auth.client_id,
        nonce=nonce,
        access_token=token.access_token,
        leeway=auth.clock_leeway,
        skew=server.skew,
    ).claims


def check_renewed_id_token(
    server: AuthorizationServer, token: StoredToken, before: StoredToken
) -> None:
    """Prove an ID token that came with a renewal (OpenID Connect Core §12.2): the same person."""
    if server.auth.issuer is None:
        return
    claims = check_id_token(server, token, nonce=None)
    first = (unverified_claims(before.id_token or "") or {}).get("sub")
    if first is not None and claims.get("sub") != first:
        raise TokenInvalidError(
            "the renewed ID token is about another person than the one who logged in: log in again",
            "sub",
        )
