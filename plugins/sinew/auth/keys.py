"""Private keys for assertions, and the assertions (RFC 7523)."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from authlib.oauth2.rfc7523.assertion import sign_jwt_bearer_assertion
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key
from pydantic import SecretStr

from sinew.auth.tls import pem
from sinew.errors import AuthenticationError, TlsError

# RFC 9864 renames it to Ed25519; servers of today still say EdDSA.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

_FITTING: dict[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "OKP": ("EdDSA",),
    "oct": ("HS256", "HS384", "HS512"),
}


def private_key(value: SecretStr, passphrase: SecretStr | None, path: str) -> Key:
    """The key of a setting: PEM, a JWK as JSON, or the path of a file with either.

    ``path`` names the setting in messages, such as ``auth.private_key``. Raises AuthenticationError.
    """
    text = value.get_secret_value().strip()
    if not text.startswith("{"):
        text = _file_or_pem(text, path)
    try:
        key = _imported(text, passphrase)
    except (ValueError, TypeError, JoseError, UnsupportedAlgorithm):
        raise AuthenticationError(f"{path} {_why_not(text, passphrase)}") from None
    if not isinstance(key, RSAKey | ECKey | OKPKey) or not key.is_private:
        raise AuthenticationError(
            f"{path} is a public or a symmetric key; allowed: a private RSA, EC or Ed25519 key: give that"
        )
    return key


def _file_or_pem(text: str, path: str) -> str:
    if "-----BEGIN " not in text:
        try:
            found = Path(text).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            found = ""
        if found.startswith("{"):
            return found
    try:
        return pem(text, path)
    except TlsError as error:
        raise AuthenticationError(str(error)) from None


def _imported(text: str, passphrase: SecretStr | None) -> Any:
    if text.startswith("{"):
        return import_key(json.loads(text))
    phrase = passphrase.get_secret_value() if passphrase else None
    loaded = load_pem_private_key(text.encode(), phrase.encode() if phrase else None)
    kind = next((kind for native, kind in _KINDS if isinstance(loaded, native)), None)
    if kind is None:
        raise ValueError
    return kind(loaded, text.encode())


_KINDS: tuple[tuple[Any, Any], ...] = (
    (rsa.RSAPrivateKey, RSAKey),
    (ec.EllipticCurvePrivateKey, ECKey),
    (ed25519.Ed25519PrivateKey, OKPKey),
)


def _why_not(text: str, passphrase: SecretStr | None) -> str:
    if "ENCRYPTED" in text:
        state = "does not open it" if passphrase else "is missing"
        return f"is encrypted and its passphrase {state}: give private_key_passphrase"
    return (
        "is no private key that can be read; allowed: PEM (PKCS #8 or traditional) of an RSA, EC or "
        "Ed25519 key, a private JWK, or the path of either: correct it"
    )


def algorithm_for(key: Key, asked: str | None, path: str) -> str:
    """The signing algorithm: the one asked for if the key can do it, else the first it can."""
    fitting = _FITTING.get(_family(key), ())
    if asked is None and fitting:
        return fitting[0]
    if asked not in fitting:
        raise AuthenticationError(
            f"{path} is {asked!r}; this key ({_family(key)}) allows {', '.join(fitting) or 'none'}: "
            "choose one, or give the key that belongs to it"
        )
    return asked


def _family(key: Key) -> str:
    if isinstance(key, ECKey):
        return str(key.curve_name)
    return str(key.key_type)


def shared_key(secret: SecretStr) -> Key:
    """A client secret as a key for HS256 and its kin (OpenID Connect Core §9)."""
    return OctKey.import_key(secret.get_secret_value())


def signed(
    key: Key,
    algorithm: str,
    *,
    issuer: str,
    subject: str,
    audience: str,
    lifetime: int,
    key_id: str | None = None,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """An assertion of RFC 7523 §3, valid for ``lifetime`` seconds; each has a ``jti`` of its own."""
    header = {"alg": algorithm, "typ": "JWT"}
    if kid := key_id or key.kid:
        header["kid"] = kid
    assertion: str = sign_jwt_bearer_assertion(
        key,
        issuer,
        audience,
        subject,
        issued_at=int(time.time()),
        expires_in=lifetime,
        # A copy: the library writes the jti into what it is given.
        claims=dict(claims or {}),
        header=header,
    )
    return assertion
