"""The server's signing keys: published, rotated, and misused when a test asks for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from demo.shop.authserver.clock import Clock

Claims = dict[str, Any]


def generate_key(alg: str) -> Key:
    """A new private key for a JWS algorithm (RFC 7518, RFC 8037), with an id of its own."""
    parameters = {"kid": secrets.token_urlsafe(8), "use": "sig", "alg": alg}
    if alg.startswith(("RS", "PS")):
        return RSAKey.generate_key(2048, parameters)
    if alg.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg]
        return ECKey.generate_key(curve, parameters)
    return OKPKey.generate_key("Ed25519", parameters)


def sign(claims: Mapping[str, Any], key: Key, alg: str, **header: str) -> str:
    """A compact JWS over ``claims``; the header names the key if it has an id."""
    named = {"kid": key.kid} if key.kid else {}
    with warnings.catch_warnings():
        # RFC 9864 renames EdDSA to Ed25519; servers and clients of today still say EdDSA.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode({"alg": alg, **named, **header}, dict(claims), key, algorithms=[alg])


def verify(token: str, keys: Key | KeySet, alg: str) -> Claims:
    """The claims of a JWS that one of the keys signed with exactly this algorithm; JoseError else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return dict(jwt.decode(token, keys, algorithms=[alg]).claims)


@dataclass
class _Retired:
    key: Key
    until: float


class SigningKeys:
    """One key that signs, and former ones that are still published for a while.

    Not locked: the store's lock is held by whoever calls.
    """

    def __init__(self, alg: str, clock: Clock) -> None:
        self.alg = alg
        self._clock = clock
        self._key = generate_key(alg)
        self._retired: list[_Retired] = []

    def rotate(self, keep_seconds: float = 600.0) -> None:
        """Sign with a new key; the former one stays published so long, or not at all (0)."""
        retired = [*self._retired, _Retired(self._key, self._clock.now() + keep_seconds)]
        self._retired = retired if keep_seconds > 0 else []
        self._key = generate_key(self.alg)

    def published(self) -> KeySet:
        """The keys that a client may trust now."""
        now = self._clock.now()
        return KeySet([self._key, *(old.key for old in self._retired if old.until > now)])

    def public_jwks(self) -> dict[str, Any]:
        """The JSON Web Key Set (RFC 7517), public parts only."""
        return {"keys": [key.as_dict(private=False) for key in self.published().keys]}

    def sign(self, claims: Mapping[str, Any], typ: str, fault: str | None = None) -> str:
        """A signed token; with a fault of ``JWT_FAULTS``, one that nobody should accept."""
        if fault is None:
            return sign(claims, self._key, self.alg, typ=typ)
        return JWT_FAULTS[fault](self, dict(claims), typ)

    def _unsigned(self, claims: Claims, typ: str) -> str:
        return _compact({"alg": "none", "typ": typ}, claims, lambda text: b"")

    def _with_public_key_as_secret(self, claims: Claims, typ: str) -> str:
        # RFC 8725 section 2.1: a verifier that lets the header choose takes the PEM as a secret.
        secret = self._key.as_pem(private=False)
        header = {"alg": "HS256", "typ": typ, "kid": self._key.kid}
        return _compact(header, claims, lambda text: hmac.digest(secret, text, "sha256"))

    def _by_a_stranger(self, claims: Claims, typ: str) -> str:
        stranger = generate_key(self.alg)
        header = {"alg": self.alg, "kid": self._key.kid, "typ": typ}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode(header, claims, stranger, algorithms=[self.alg])

    def _expired(self, claims: Claims, typ: str) -> str:
        return self.sign({**claims, "iat": claims["iat"] - 7200, "exp": claims["iat"] - 3600}, typ)

    def _from_the_future(self, claims: Claims, typ: str) -> str:
        return self.sign({**claims, "iat": claims["iat"] + 3600, "exp": claims["exp"] + 7200}, typ)

    def _other_audience(self, claims: Claims, typ: str) -> str:
        return self.sign({**claims, "aud": "somebody-else"}, typ)

    def _other_nonce(self, claims: Claims, typ: str) -> str:
        return self.sign({**claims, "nonce": secrets.token_urlsafe(8)}, typ)

    def _other_issuer(self, claims: Claims, typ: str) -> str:
        return self.sign({**claims, "iss": "https://issuer.elsewhere.example"}, typ)

    def _other_at_hash(self, claims: Claims, typ: str) -> str:
        digest = hashlib.sha256(secrets.token_bytes(8)).digest()[:16]
        return self.sign({**claims, "at_hash": _base64(digest)}, typ)

    def _several_audiences(self, claims: Claims, typ: str) -> str:
        # OpenID Connect Core 3.1.3.7, rules 3 to 5: a second audience calls for azp.
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        return self.sign({**claims, "aud": [*audience, "somebody-else"], "azp": "x"}, typ)


JWT_FAULTS: dict[str, Callable[[SigningKeys, Claims, str], str]] = {
    "alg_none": SigningKeys._unsigned,
    "hs256_public_key": SigningKeys._with_public_key_as_secret,
    "wrong_signature": SigningKeys._by_a_stranger,
    "wrong_audience": SigningKeys._other_audience,
    "wrong_azp": SigningKeys._several_audiences,
    "wrong_issuer": SigningKeys._other_issuer,
    "wrong_nonce": SigningKeys._other_nonce,
    "wrong_at_hash": SigningKeys._other_at_hash,
    "expired": SigningKeys._expired,
    "from_the_future": SigningKeys._from_the_future,
}


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _compact(
    header: Mapping[str, Any], claims: Mapping[str, Any], signature: Callable[[bytes], bytes]
) -> str:
    """A JWS written by hand, for what no library signs."""
    parts = [_base64(json.dumps(part).encode()) for part in (header, claims)]
    text = ".".join(parts)
    return f"{text}.{_base64(signature(text.encode()))}"
