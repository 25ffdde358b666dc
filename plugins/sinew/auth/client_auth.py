"""How a client proves itself at the authorization server, one way of RFC 6749 §2.3, 7523 or 8705 each."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote_plus

from authlib.common.urls import add_params_to_qs
from authlib.integrations.requests_client.oauth2_session import OAuth2ClientAuth
from authlib.oauth2.auth import encode_client_secret_post, encode_none
from authlib.oauth2.rfc7523.client import ASSERTION_TYPE

from sinew.auth.keys import algorithm_for, private_key, shared_key, signed
from sinew.auth.models import OAuth2

# Long enough for a slow network, short enough that a stolen one is of little use.
_ASSERTION_SECONDS = 60


def client_auth(auth: OAuth2, audience: str) -> Any:
    """What requests calls to add the client's proof to a form; ``audience`` is for assertions."""
    secret = auth.client_secret.get_secret_value() if auth.client_secret else None
    way = auth.client_auth
    if way == "client_secret_basic":
        method: Any = _basic
    elif way == "client_secret_post":
        method = encode_client_secret_post
    elif way in ("client_secret_jwt", "private_key_jwt"):
        method = _asserting(auth, audience)
    else:
        # By TLS or not at all: the id alone, which RFC 8705 §2 demands too.
        method = encode_none if auth.client_id else _nothing
    return OAuth2ClientAuth(auth.client_id, secret, method)


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    # RFC 6749 §2.3.1 encodes both as a form does, before Basic encodes the pair.
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = "Basic " + b64encode(pair.encode("ascii")).decode()
    return uri, headers, body


def _nothing(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    return uri, headers, body


def _asserting(auth: OAuth2, audience: str) -> Any:
    assertion = client_assertion(auth, audience)

    def add(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
        # With the id, as most servers look the client up before they read the assertion.
        proof = [
            ("client_id", client.client_id),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        ]
        return uri, headers, add_params_to_qs(body or "", proof)

    return add


def client_assertion(auth: OAuth2, audience: str) -> str:
    """A fresh assertion about the client itself (RFC 7523 §2.2)."""
    if auth.client_auth == "client_secret_jwt":
        assert auth.client_secret is not None
        key = shared_key(auth.client_secret)
    else:
        assert auth.private_key is not None
        key = private_key(auth.private_key, auth.private_key_passphrase, "auth.private_key")
    algorithm = algorithm_for(key, auth.algorithm, "auth.algorithm")
    client_id = auth.client_id or ""
    return signed(
        key,
        algorithm,
        issuer=client_id,
        subject=client_id,
        audience=audience,
        lifetime=_ASSERTION_SECONDS,
        key_id=auth.key_id,
    )
