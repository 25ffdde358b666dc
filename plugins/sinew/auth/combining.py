"""Which settings of ``oauth2`` belong together, checked on what was written, be it otherwise right or wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from sinew.auth.models import ClientAuth, Grant

Found = tuple[str, str]

_SECRET_WAYS = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
_TLS_WAYS = ("tls_client_auth", "self_signed_tls_client_auth")
_NEEDS_ENDPOINT = {
    "authorization_code": "authorization_endpoint",
    "device_code": "device_authorization_endpoint",
}
# Settings that only one grant reads, so that elsewhere they are a mistake.
_ONLY_FOR = {
    "refresh_token": ("refresh_token",),
    "subject_token": ("token_exchange",),
    "actor_token": ("token_exchange",),
    "requested_token_type": ("token_exchange",),
    "assertion": ("jwt_bearer",),
    "redirect_uri": ("authorization_code",),
    "authorization_params": ("authorization_code",),
}
_SYMMETRIC = ("HS256", "HS384", "HS512")


def problems_of_oauth2(auth: Mapping[str, Any], api_tls: Any) -> Iterator[Found]:
    """(path, message) for everything that is missing or stands where nothing reads it."""
    grant, way = auth.get("grant"), auth.get("client_auth")
    if grant in get_args(Grant):
        yield from _grant(auth, str(grant))
    if way in get_args(ClientAuth):
        yield from _client(auth, str(way), api_tls)
        yield from _pair(auth, grant, str(way))
    if not auth.get("issuer") and not auth.get("token_endpoint"):
        yield (
            "auth.token_endpoint",
            "is missing, and so is auth.issuer; allowed: either: add `issuer` to discover all "
            "endpoints, or `token_endpoint`",
        )


def _grant(auth: Mapping[str, Any], grant: str) -> Iterator[Found]:
    if (endpoint := _NEEDS_ENDPOINT.get(grant)) and not (auth.get(endpoint) or auth.get("issuer")):
        yield f"auth.{endpoint}", f"is missing; grant {grant} needs it, or auth.issuer: add one"
    if grant == "refresh_token" and not auth.get("refresh_token"):
        yield "auth.refresh_token", "is missing; grant refresh_token starts from it: add it"
    if grant == "token_exchange" and not auth.get("subject_token"):
        yield (
            "auth.subject_token",
            "is missing; grant token_exchange gives it away for another: add the token, or the "
            "path of the file that holds it",
        )
    if grant == "jwt_bearer" and not (auth.get("private_key") or _in_assertion(auth)):
        yield (
            "auth.private_key",
            "is missing; grant jwt_bearer signs its assertion with it: add PEM, JWK or a path",
        )
    for name, grants in _ONLY_FOR.items():
        if auth.get(name) and grant not in grants:
            yield (
                f"auth.{name}",
                f"is read for grant {' and '.join(grants)} only; the grant is {grant!r}: remove "
                "it, or change auth.grant",
            )


def _in_assertion(auth: Mapping[str, Any]) -> bool:
    assertion = auth.get("assertion")
    return isinstance(assertion, Mapping) and bool(assertion.get("private_key"))


def _client(auth: Mapping[str, Any], way: str, api_tls: Any) -> Iterator[Found]:
    if not auth.get("client_id") and not (way == "none" and auth.get("grant") == "jwt_bearer"):
        yield (
            "auth.client_id",
            "is missing; the authorization server knows us by it: add it, or fill in the connection's login",
        )
    if way in _SECRET_WAYS and not auth.get("client_secret"):
        yield (
            "auth.client_secret",
            f"is missing; client_auth {way} proves us with it: add it, or fill in the connection's password",
        )
    if way == "private_key_jwt" and not auth.get("private_key"):
        yield (
            "auth.private_key",
            "is missing; client_auth private_key_jwt signs with it: add PEM, JWK or a path",
        )
    if way in _TLS_WAYS and not _has_certificate(auth.get("tls") or api_tls):
        yield (
            "auth.tls.certificate",
            f"is missing; client_auth {way} proves us by a client certificate: add `certificate` "
            "and `key` to auth.tls, or to tls for both servers",
        )


def _has_certificate(tls: Any) -> bool:
    return isinstance(tls, Mapping) and bool(tls.get("certificate"))


def _pair(auth: Mapping[str, Any], grant: Any, way: str) -> Iterator[Found]:
    if way == "none" and grant == "client_credentials":
        # RFC 6749 §4.4: only confidential clients.
        yield (
            "auth.client_auth",
            "is 'none' for grant client_credentials, which proves nothing; allowed: "
            f"{', '.join(w for w in get_args(ClientAuth) if w != 'none')}: choose one",
        )
    algorithm = auth.get("algorithm")
    if algorithm and way == "client_secret_jwt" and algorithm not in _SYMMETRIC:
        yield (
            "auth.algorithm",
            f"is {str(algorithm)!r}; client_auth client_secret_jwt allows {', '.join(_SYMMETRIC)}: choose one",
        )
    if algorithm in _SYMMETRIC and way == "private_key_jwt":
        yield (
            "auth.algorithm",
            f"is {algorithm!r}, which signs with a shared secret; private_key_jwt allows RS256, "
            "PS256, ES256, EdDSA and their kin: choose one",
        )
    if auth.get("assertion_audience") == "issuer" and not auth.get("issuer"):
        yield "auth.issuer", "is missing; auth.assertion_audience is 'issuer': add it"


def problems_of_tls(tls: Any, path: str) -> Iterator[Found]:
    """What a block with a client certificate lacks."""
    if not isinstance(tls, Mapping):
        return
    if tls.get("certificate") and not tls.get("key"):
        yield f"{path}.key", "is missing; a certificate needs its private key: add PEM or a path"
    if tls.get("key") and not tls.get("certificate"):
        yield f"{path}.certificate", "is missing; a key needs its certificate: add PEM or a path"
    if tls.get("key_passphrase") and not tls.get("key"):
        yield f"{path}.key", "is missing; there is a key_passphrase without it: add the key"
