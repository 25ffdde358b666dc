"""What is known of a connection's token, never the token itself; and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sinew.auth.asking import revoke
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.server import AuthorizationServer
from sinew.auth.store import StoredToken, TokenStore


@dataclass(frozen=True)
class Shown:
    """A token without anything secret.

    ``state`` is none (nothing stored), alive, expired, or ended (it can never be renewed).
    ``expires_in`` is in seconds from now, None when the server did not say; ``claims`` are what a
    JWT says of itself, not verified.
    """

    conn_id: str
    state: str
    scopes: tuple[str, ...] = ()
    expires_in: float | None = None
    expires_at: datetime | None = None
    renewable: bool = False
    certificate_bound: bool = False
    claims: Mapping[str, Any] = field(default_factory=dict)


def show(endpoint: ApiEndpoint, tokens: TokenStore) -> Shown:
    """What is stored for a connection; asks no server."""
    AuthorizationServer(endpoint)  # says what to do when the connection has no OAuth
    return shown(endpoint, tokens.peek(endpoint.slot))


def shown(endpoint: ApiEndpoint, token: StoredToken | None) -> Shown:
    """A token without anything secret."""
    if token is None:
        return Shown(endpoint.conn_id, "none")
    left = token.remaining if token.access_token else None
    return Shown(
        endpoint.conn_id,
        _state(token),
        tuple((token.scope or "").split()),
        left,
        None if left is None else datetime.now(UTC) + timedelta(seconds=left),
        _renewable(endpoint, token),
        token.thumbprint is not None,
        dict(token.claims),
    )


def _state(token: StoredToken) -> str:
    if token.ended:
        return "ended"
    dead = token.access_token is None or (token.remaining is not None and token.remaining <= 0)
    return "expired" if dead else "alive"


def _renewable(endpoint: ApiEndpoint, token: StoredToken) -> bool:
    by_itself = endpoint.oauth2 is not None and endpoint.oauth2.grant in (
        "client_credentials",
        "jwt_bearer",
        "token_exchange",
    )
    return not token.ended and (by_itself or token.refresh_token is not None)


@dataclass(frozen=True)
class LoggedOut:
    """What became of a token: whether there was one, and which kinds the server revoked."""

    conn_id: str
    was_stored: bool
    revoked: tuple[str, ...]


def logout(endpoint: ApiEndpoint, tokens: TokenStore) -> LoggedOut:
    """Revoke a connection's tokens at the server (RFC 7009) and forget them here.

    Without a revocation endpoint they are only forgotten, and ``revoked`` is empty. When the server
    cannot be asked, nothing is forgotten and the error is raised, so that it can be tried again.
    """
    server = AuthorizationServer(endpoint)
    with tokens.slot(endpoint.slot) as slot:
        stored = slot.load()
        if stored is None:
            return LoggedOut(endpoint.conn_id, False, ())
        revoked = []
        # The refresh token first: with it, most servers end the access token too.
        for kind in ("refresh_token", "access_token"):
            value = getattr(stored, kind)
            if value is not None and revoke(server, value, kind):
                revoked.append(kind)
        slot.delete()
    return LoggedOut(endpoint.conn_id, True, tuple(revoked))
