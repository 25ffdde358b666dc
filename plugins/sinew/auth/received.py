"""A token response: what is kept of it, and the checks before its access token is used."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sinew.auth.answers import Answer, plain
from sinew.auth.peeking import unverified_claims
from sinew.auth.server import AuthorizationServer
from sinew.auth.store import StoredToken
from sinew.errors import AuthenticationError, SinewError, TokenInvalidError

_SHOWN_CLAIMS = frozenset(
    "iss sub aud azp client_id exp iat nbf scope scp roles jti auth_time acr amr".split()
)


def received(
    server: AuthorizationServer,
    answer: Answer,
    *,
    sent_at: float,
    before: StoredToken | None = None,
    seed: str | None = None,
) -> StoredToken:
    """The token of a good answer (RFC 6749 §5.1); ``sent_at`` is the monotonic time of the request.

    Life is counted from the request on, since the server began to count before we read the answer."""
    body = answer.body
    access = str(body["access_token"])
    lifetime = _seconds(body.get("expires_in"))
    elapsed = time.monotonic() - sent_at
    kept = before or StoredToken()
    id_token = _text(body, "id_token")
    return StoredToken(
        access_token=access,
        expires_in=None if lifetime is None else lifetime - elapsed,
        lifetime=lifetime,
        scope=_text(body, "scope") or kept.scope or " ".join(server.auth.scope) or None,
        # RFC 6749 §6: without a new one the old one stays.
        refresh_token=_refresh_token(server, body) or kept.refresh_token,
        id_token=id_token or kept.id_token,
        claims=_claims(access) or _claims(id_token) or dict(kept.claims),
        seed=seed,
        thumbprint=server.thumbprint,
    )


def _refresh_token(server: AuthorizationServer, body: Mapping[str, Any]) -> str | None:
    """RFC 6749 §4.4.3: none is due where the client can ask again by itself."""
    own_account = server.auth.grant in ("client_credentials", "jwt_bearer", "token_exchange")
    return None if own_account else _text(body, "refresh_token")


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _seconds(value: Any) -> float | None:
    """``expires_in``, which some servers send as text; nonsense counts as not said."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _claims(token: str | None) -> dict[str, Any]:
    """Claims worth showing to a person; not verified, and used for nothing else."""
    found = unverified_claims(token) if token else None
    return {name: value for name, value in (found or {}).items() if name in _SHOWN_CLAIMS}


def unusable(server: AuthorizationServer, answer: Answer, token: StoredToken) -> SinewError | None:
    """Why a received token must not be used, if so."""
    kind = answer.body.get("token_type")
    # RFC 8693 §2.2.1: N_A is what an exchange says for a token that is no access token.
    if not (isinstance(kind, str) and kind.lower() in ("bearer", "n_a")):
        return AuthenticationError(
            f"the authorization server gave a token of type {plain(kind, 40) or 'none'!r}; allowed: Bearer: "
            "have the client registered for bearer tokens"
        )
    if (bound := bound_elsewhere(token.access_token or "", server.thumbprint)) is not None:
        return bound
    return None


def bound_elsewhere(access_token: str, ours: str | None) -> TokenInvalidError | None:
    """The error for a JWT that is bound to another certificate than ours (RFC 8705 §3.1)."""
    claims = unverified_claims(access_token) or {}
    return wrong_binding(claims, ours)


def wrong_binding(claims: Mapping[str, Any], ours: str | None) -> TokenInvalidError | None:
    """The same for claims, of a JWT or of an introspection."""
    confirmation = claims.get("cnf")
    bound = confirmation.get("x5t#S256") if isinstance(confirmation, Mapping) else None
    if bound is None or bound == ours:
        return None
    seen = "we have none" if ours is None else f"ours has {ours}"
    return TokenInvalidError(
        f"the access token is bound to the certificate with thumbprint {plain(bound, 60)}, and {seen}; the API "
        "will refuse it: use one certificate in tls for both servers",
        "cnf",
    )


def without_access(token: StoredToken, before: StoredToken | None) -> StoredToken:
    """The same token, whose access token is not to be used by anyone, and whose ID token is not proved."""
    proved = before.id_token if before else None
    return replace(token, access_token=None, expires_in=None, id_token=proved)
