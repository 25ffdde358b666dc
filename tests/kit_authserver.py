"""A client of the demo's authorization server, by hand: forms, proofs, what came back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import requests
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from demo.shop.authserver import AuthServer, Client
from demo.shop.authserver.keys import sign

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
VERIFIER = secrets.token_urlsafe(48)


def proof(server: AuthServer, client: Client, **claims: Any) -> dict[str, Any]:
    """Arguments for requests.post by which a client authenticates; ``claims`` of its assertion."""
    sent: dict[str, Any] = {"data": {"client_id": client.client_id}}
    if server.authority:
        sent["verify"] = str(server.authority)
    if client.tls:
        sent["cert"] = (str(client.tls.certificate), str(client.tls.key))
    if client.method == "client_secret_basic":
        pair = quote_plus(client.client_id), quote_plus(client.secret or "")
        sent |= {"data": {}, "auth": pair}
    if client.method == "client_secret_post":
        sent["data"]["client_secret"] = client.secret
    if client.method in ("client_secret_jwt", "private_key_jwt"):
        sent["data"]["client_assertion_type"] = ASSERTION_TYPE
        sent["data"]["client_assertion"] = assertion(server, client, **claims)
    return sent


def assertion(server: AuthServer, client: Client, **claims: Any) -> str:
    """A client assertion (RFC 7523) good for a minute, unless ``claims`` say otherwise."""
    now = int(server.provider.clock.now())
    usual = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": server.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": secrets.token_urlsafe(12),
    }
    key = client.key or OctKey.import_key(client.secret or "")
    return sign(usual | claims, key, client.alg or "HS256")


def ask(
    server: AuthServer,
    client: str | Client,
    path: str = "/token",
    claims: Mapping[str, Any] | None = None,
    **form: Any,
) -> requests.Response:
    """Post a form to the server as one of its clients; ``_`` in names is as it stands."""
    one = server.clients[client] if isinstance(client, str) else client
    sent = proof(server, one, **(claims or {}))
    sent["data"] |= form
    return requests.post(f"{server.issuer}{path}", timeout=10, **sent)


def token_of(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


def error_of(answer: requests.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()["error"]


def claims_of(server: AuthServer, token: str) -> dict[str, Any]:
    """The claims of a token whose signature one of the published keys made."""
    keys = KeySet.import_key_set(server.public_jwks())
    return jwt.decode(token, keys, algorithms=[server.settings.signing_alg]).claims


def vouched(server: AuthServer, sub: str = "ada", **changes: Any) -> str:
    """What the trusted issuer says about a user (RFC 7523 section 2.1)."""
    (issuer,) = server.issuers.values()
    now = int(server.provider.clock.now())
    claims = {
        "iss": issuer.issuer,
        "sub": sub,
        "aud": server.issuer,
        "exp": now + 60,
        "jti": secrets.token_urlsafe(12),
    }
    return sign(claims | changes, issuer.key, issuer.alg)


def request_of(server: AuthServer, client: str = "none", **changes: Any) -> dict[str, Any]:
    """The parameters of an authorization request; a change to None leaves one out."""
    usual = {
        "response_type": "code",
        "client_id": server.clients[client].client_id,
        "redirect_uri": "http://127.0.0.1:49152/callback",
        "scope": "openid email orders:read",
        "state": "the state",
        "nonce": secrets.token_urlsafe(8),
        "code_challenge": create_s256_code_challenge(VERIFIER),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def authorize(server: AuthServer, request: dict[str, Any]) -> requests.Response:
    url = f"{server.issuer}/authorize"
    trust = str(server.authority) if server.authority else True
    return requests.get(url, params=request, allow_redirects=False, verify=trust, timeout=10)


def returned(answer: requests.Response) -> dict[str, str]:
    """What a redirect carries back to the client."""
    assert answer.status_code == 302, answer.text
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    return {name: values[0] for name, values in query.items()}


def redeem(server: AuthServer, code: str, client: str = "none", **changes: Any) -> Any:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": "http://127.0.0.1:49152/callback",
        "code_verifier": VERIFIER,
    }
    return ask(server, client, **form | changes)
