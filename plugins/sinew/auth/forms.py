"""What a token request says, one grant of RFC 6749, 7523, 8628 or 8693 each; client proofs come on top."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import SecretStr

from sinew.auth.keys import algorithm_for, private_key, signed
from sinew.auth.server import AuthorizationServer, Form
from sinew.errors import AuthenticationError

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


def asking(server: AuthorizationServer) -> Form:
    """Scope, audience and resources, and what the connection adds."""
    auth = server.auth
    form: Form = [("scope", " ".join(auth.scope))] if auth.scope else []
    form += [("audience", audience) for audience in auth.audience]
    form += [("resource", resource) for resource in auth.resource]
    return form + list(auth.token_params.items())


def client_credentials(server: AuthorizationServer) -> Form:
    """RFC 6749 §4.4."""
    return [("grant_type", "client_credentials"), *asking(server)]


def refreshing(server: AuthorizationServer, refresh_token: str) -> Form:
    """RFC 6749 §6. The scope is left out: the same as before, whatever the server granted then."""
    auth = server.auth
    form: Form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
    form += [("resource", resource) for resource in auth.resource]
    return form + list(auth.token_params.items())


def jwt_bearer(server: AuthorizationServer) -> Form:
    """RFC 7523 §2.1, with a fresh assertion."""
    return [("grant_type", JWT_BEARER), ("assertion", _assertion(server)), *asking(server)]


def _assertion(server: AuthorizationServer) -> str:
    auth, said = server.auth, server.auth.assertion
    own = said.private_key is not None
    secret = said.private_key or auth.private_key
    if secret is None:
        raise AuthenticationError(
            "auth.private_key is missing; grant jwt_bearer signs with it: add it"
        )
    path = "auth.assertion.private_key" if own else "auth.private_key"
    phrase = said.private_key_passphrase if own else auth.private_key_passphrase
    key = private_key(secret, phrase, path)
    issuer = said.issuer or auth.client_id or ""
    if not issuer:
        raise AuthenticationError(
            "auth.assertion.issuer is missing, and so is client_id: add either"
        )
    return signed(
        key,
        algorithm_for(
            key, said.algorithm or (None if own else auth.algorithm), "auth.assertion.algorithm"
        ),
        issuer=issuer,
        subject=said.subject or issuer,
        audience=said.audience or server.assertion_audience(),
        lifetime=said.lifetime,
        key_id=said.key_id or (None if own else auth.key_id),
        claims=said.claims,
    )


def token_exchange(server: AuthorizationServer) -> Form:
    """RFC 8693 §2.1."""
    auth = server.auth
    assert auth.subject_token is not None
    form: Form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", text_or_file(auth.subject_token)),
        ("subject_token_type", auth.subject_token_type),
    ]
    if auth.actor_token:
        form += [
            ("actor_token", text_or_file(auth.actor_token)),
            ("actor_token_type", auth.actor_token_type),
        ]
    if auth.requested_token_type:
        form.append(("requested_token_type", auth.requested_token_type))
    return form + asking(server)


def text_or_file(value: SecretStr) -> str:
    """A token, or what the file holds that it names, as for a platform's own rotating tokens."""
    text = value.get_secret_value()
    if not text.startswith("/"):
        return text
    try:
        return Path(text).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise AuthenticationError(
            f"the token's file {text} cannot be read on this worker: mount it, or correct the path"
        ) from None


def code_exchange(server: AuthorizationServer, code: str, redirect_uri: str, verifier: str) -> Form:
    """RFC 6749 §4.1.3 with the verifier of RFC 7636 §4.5."""
    auth = server.auth
    form: Form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    ]
    form += [("resource", resource) for resource in auth.resource]
    return form + list(auth.token_params.items())


def device_poll(server: AuthorizationServer, device_code: str) -> Form:
    """RFC 8628 §3.4."""
    return [
        ("grant_type", DEVICE_CODE),
        ("device_code", device_code),
        *server.auth.token_params.items(),
    ]


def seed_of(server: AuthorizationServer) -> str | None:
    """A digest of the secrets that a connection starts from, to notice when a person replaces one.

    Of a token in a file it is the path: what stands there is renewed by others, for the same one.
    """
    auth = server.auth
    first = auth.refresh_token if auth.grant == "refresh_token" else auth.subject_token
    said = [secret.get_secret_value() for secret in (first, auth.actor_token) if secret is not None]
    return hashlib.sha256("\n".join(said).encode()).hexdigest() if said else None
