"""Who may ask for tokens: ready-made clients, one for each way to authenticate.

Ids, secrets and keys are made at the server's start and handed to whoever started it; the server
itself only ever compares secrets in constant time and verifies with public keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749 import ClientMixin
from cryptography.hazmat.primitives import hashes
from joserfc.jwk import Key, KeySet, OctKey

from demo.shop.authserver.keys import generate_key
from demo.shop.tls import Certificates, Leaf

CLIENT_CREDENTIALS = "client_credentials"
AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
PUBLIC_GRANTS = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE)
GRANTS = (CLIENT_CREDENTIALS, *PUBLIC_GRANTS)

TLS_METHODS = ("tls_client_auth", "self_signed_tls_client_auth")
ASSERTION_METHODS = ("client_secret_jwt", "private_key_jwt")
CONFIDENTIAL_METHODS = (
    "client_secret_basic",
    "client_secret_post",
    *ASSERTION_METHODS,
    *TLS_METHODS,
)
METHODS = (*CONFIDENTIAL_METHODS, "none")

API_SCOPES = ("orders:read", "customers:read", "products:read", "contacts:read", "contacts:write")
SCOPES = (*API_SCOPES, "openid", "profile", "email", "offline_access")
LOOPBACK_REDIRECT = "http://127.0.0.1/callback"


@dataclass(frozen=True)
class Client(ClientMixin):
    """A registered client, with what it needs to authenticate.

    ``name`` is how tests call it, ``client_id`` what is sent. ``lifetime`` is that of its access
    tokens in seconds, the server's when None. ``audience`` is what tokens are for when the request
    names nothing. A client that ``introspects`` may ask about every client's tokens.
    """

    name: str
    client_id: str
    method: str
    token_format: str = "jwt"  # or "opaque"
    secret: str | None = field(default=None, repr=False)
    key: Key | None = field(default=None, repr=False)
    alg: str | None = None
    tls: Leaf | None = None
    grants: tuple[str, ...] = GRANTS
    scopes: tuple[str, ...] = SCOPES
    default_scopes: tuple[str, ...] = ("orders:read",)
    redirect_uris: tuple[str, ...] = (LOOPBACK_REDIRECT,)
    audience: str = "urn:demo:shop"
    lifetime: int | None = None
    certificate_bound: bool = False
    introspects: bool = False

    @property
    def private_pem(self) -> str | None:
        """The private key of private_key_jwt as PKCS #8 PEM."""
        return None if self.key is None else self.key.as_pem(private=True).decode()

    @property
    def kid(self) -> str | None:
        """The key's id, as the assertion's header names it."""
        return None if self.key is None else self.key.kid

    @property
    def binds_tokens(self) -> bool:
        """True if its tokens are bound to the certificate that it shows (RFC 8705 section 3)."""
        return self.certificate_bound or self.method in TLS_METHODS

    def verification_keys(self) -> Key | KeySet:
        """What its assertions are verified with: its public key by id, or its secret."""
        if self.method == "client_secret_jwt":
            return OctKey.import_key(self.secret or "")
        keys = [] if self.key is None else [self.key.as_dict(private=False)]
        return KeySet.import_key_set({"keys": keys})

    def credentials(self) -> dict[str, Any]:
        """Everything a client program needs, as JSON values; secret."""
        tls = self.tls and {
            "certificate": str(self.tls.certificate),
            "key": str(self.tls.key),
            "passphrase": self.tls.passphrase,
        }
        return {
            "client_id": self.client_id,
            "method": self.method,
            "token_format": self.token_format,
            "client_secret": self.secret,
            "private_key": self.private_pem,
            "kid": self.kid,
            "alg": self.alg,
            "tls": tls,
            "scope": " ".join(self.scopes),
            "redirect_uris": list(self.redirect_uris),
        }

    # What Authlib asks of a client.

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The part of the wanted scope that it may have; None if that is nothing at all."""
        if not scope:
            return " ".join(self.default_scopes)
        return " ".join(word for word in scope.split() if word in self.scopes) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exactly a registered one, but for the port of a loopback address (RFC 8252 section 7.3)."""
        return redirect_uri in self.redirect_uris or (
            _without_loopback_port(redirect_uri) in self.redirect_uris
        )

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret is not None and secrets.compare_digest(
            self.secret.encode(), client_secret.encode()
        )

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and self.check_grant_type(AUTHORIZATION_CODE)

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants


def _without_loopback_port(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "::1"):
        return None
    return uri if port is None else parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()


def thumbprint(leaf: Leaf) -> bytes:
    """The SHA-256 of a certificate's DER (RFC 8705 section 3.1, before base64url)."""
    return leaf.x509.fingerprint(hashes.SHA256())


class Registry(Mapping[str, Client]):
    """The clients by name; also found by id."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._by_name = {client.name: client for client in clients}

    def __getitem__(self, name: str) -> Client:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._by_name))

    def __len__(self) -> int:
        return len(self._by_name)

    def by_id(self, client_id: str) -> Client | None:
        """The client that sends this id."""
        found = (client for client in tuple(self._by_name.values()))
        return next((client for client in found if client.client_id == client_id), None)

    def add(self, client: Client) -> Client:
        """Register a client, or replace the one of its name."""
        self._by_name[client.name] = client
        return client

    def variant(self, of: str, name: str, **changes: Any) -> Client:
        """Register a copy of a client under another name and id, with some fields changed."""
        return self.add(replace(self[of], name=name, client_id=_new_id(name), **changes))


def ready_made(certificates: Certificates | None) -> Registry:
    """One client for each method that can be used here, and a few special ones.

    Each is there twice: under its method's name with JWT access tokens (RFC 9068), and as
    ``<method>_opaque``. TLS methods need certificates. ``private_key_jwt_<alg>`` sign with other
    algorithms, ``client_secret_basic_escaped`` has a secret that RFC 6749 section 2.3.1 changes
    on the wire, and ``resource_server`` may introspect every token and get none.
    """
    methods = [name for name in METHODS if certificates or name not in TLS_METHODS]
    registry = Registry(_made(method, method, certificates) for method in methods)
    for method in methods:
        secret = registry[method].secret and secrets.token_urlsafe(32)
        registry.variant(method, f"{method}_opaque", token_format="opaque", secret=secret)
    for alg in ("ES256", "PS256", "EdDSA"):
        name = f"private_key_jwt_{alg.lower()}"
        registry.variant("private_key_jwt", name, key=generate_key(alg), alg=alg)
    odd = f"{secrets.token_urlsafe(24)} %:+/=ü"
    registry.variant("client_secret_basic", "client_secret_basic_escaped", secret=odd)
    registry.variant(
        "client_secret_basic",
        "resource_server",
        secret=secrets.token_urlsafe(32),
        grants=(),
        introspects=True,
    )
    return registry


def _made(name: str, method: str, certificates: Certificates | None) -> Client:
    client = Client(name=name, client_id=_new_id(name), method=method)
    if method.startswith("client_secret_"):
        alg = "HS256" if method == "client_secret_jwt" else None
        return replace(client, secret=secrets.token_urlsafe(32), alg=alg)
    if method == "private_key_jwt":
        return replace(client, key=generate_key("RS256"), alg="RS256")
    if method in TLS_METHODS and certificates:
        signed = method == "tls_client_auth"
        leaf = certificates.client if signed else certificates.self_signed_client
        return replace(client, tls=leaf)
    return replace(client, grants=PUBLIC_GRANTS)


def _new_id(name: str) -> str:
    return f"{name}-{secrets.token_hex(4)}"
