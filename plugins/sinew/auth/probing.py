"""One request to an API, and what was sent and got, without a secret."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sinew.auth.answers import plain
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.models import OAuth2
from sinew.auth.origins import without_query
from sinew.auth.server import AuthorizationServer
from sinew.auth.session import ApiSession
from sinew.auth.showing import Shown, show
from sinew.auth.store import TokenStore


@dataclass(frozen=True)
class Probe:
    """What one request sent and got.

    ``sent`` describes the proof in words; ``headers`` are the names that were sent, without values.
    ``good`` means that the API took the proof, whatever it thought of the path; ``advice`` says
    what to do if not. ``token`` is what is known of the OAuth token.
    """

    conn_id: str
    method: str
    url: str
    sent: str
    headers: tuple[str, ...]
    status: int
    reason: str
    content_type: str
    seconds: float
    good: bool
    advice: str
    tls: str
    token: Shown | None = None
    answer: Mapping[str, str] = field(default_factory=dict)


def probe(endpoint: ApiEndpoint, tokens: TokenStore, path: str = "", method: str = "GET") -> Probe:
    """Send one request and describe it. Raises what open_session's sessions raise."""
    with ApiSession(endpoint, tokens) as session:
        began = time.monotonic()
        response = session.request(method, path, stream=True)
        seconds = time.monotonic() - began
        response.close()
        secrets = session.secrets()
    asked = plain(response.headers.get("WWW-Authenticate", ""), 2_000, secrets)
    status = response.status_code
    return Probe(
        endpoint.conn_id,
        method,
        without_query(response.url),
        _proof(endpoint),
        tuple(sorted({*response.request.headers, *_added(endpoint)})),
        status,
        plain(response.reason, 60, secrets),
        plain(response.headers.get("Content-Type", ""), 60),
        seconds,
        status not in (401, 403, 407),
        _advice(endpoint, status, asked),
        _tls(endpoint),
        show(endpoint, tokens) if endpoint.oauth2 else None,
        {"WWW-Authenticate": plain(asked)} if asked else {},
    )


def _proof(endpoint: ApiEndpoint) -> str:
    auth = endpoint.auth
    if isinstance(auth, OAuth2):
        by = auth.issuer or AuthorizationServer(endpoint).url("token_endpoint", "a token")
        client = f"client {auth.client_id!r} by {auth.client_auth}"
        return f"an access token of {without_query(by)} (grant {auth.grant}, {client})"
    return {
        "none": "no proof",
        "api_key": "an API key",
        "basic": "user name and password (Basic)",
        "bearer": "a fixed bearer token",
        "hmac": "a signature (HMAC)",
    }[auth.type]


def _added(endpoint: ApiEndpoint) -> list[str]:
    names = list(endpoint.headers)
    return names if endpoint.auth.type in ("none", "api_key", "hmac") else [*names, "Authorization"]


def _tls(endpoint: ApiEndpoint) -> str:
    if urlsplit(endpoint.base_url).scheme != "https":
        return "none"
    tls = endpoint.tls
    ours = "with our certificate" if tls and tls.certificate else "without a client certificate"
    return f"{ours}, trusting {'tls.ca' if tls and tls.ca else 'public CAs'}"


def _advice(endpoint: ApiEndpoint, status: int, asked: str) -> str:
    if status == 401 and endpoint.oauth2:
        return (
            "the API refuses the access token, a fresh one too: see that auth.audience, auth.resource and "
            "auth.scope are what this API wants, and that it trusts this authorization server"
        )
    if status == 401:
        wanted = f"; it asks for {plain(asked, 80)}" if asked else ""
        return f"the API refuses {_proof(endpoint)}{wanted}: correct the connection's secret, or auth.type"
    if status == 403:
        lacks = "insufficient_scope" in asked
        return (
            "the token lacks a scope: add it to auth.scope and log in again"
            if lacks
            else (
                "the API knows us and does not allow this: have the right granted, or try another path"
            )
        )
    if status == 404:
        return "the proof was taken or not asked for; the path does not exist: try one that does"
    return ""
