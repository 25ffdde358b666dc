"""The public keys of an issuer (RFC 7517), fetched again when a token names one that is not known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from sinew.errors import TokenInvalidError

# An attacker who invents key ids must not make us ask the issuer for each.
_MIN_INTERVAL = 10.0
_MAX_AGE = 3600.0
_FAMILIES = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}


class KeySource:
    """Keys by id. ``fetch`` returns the JWK set as an object; it may raise what it likes.

    Rotation needs no restart: an unknown id leads to one more fetch, at most one in ten seconds.
    Only public asymmetric keys for signing are taken, so a set with a symmetric one is no way in.
    """

    def __init__(
        self, fetch: Callable[[], Mapping[str, Any]], min_interval: float = _MIN_INTERVAL
    ) -> None:
        self._fetch, self._min_interval = fetch, min_interval
        self._keys: Sequence[Key] = ()
        self._fetched_at: float | None = None
        self._guard = threading.Lock()

    def key(self, header: Mapping[str, Any]) -> Key:
        """The key that a JWS header names. Raises TokenInvalidError when the issuer has none such."""
        with self._guard:
            if self._fetched_at is None or time.monotonic() - self._fetched_at > _MAX_AGE:
                self._refetch()
            found = self._matching(header)
            if not found and self._may_refetch():
                self._refetch()
                found = self._matching(header)
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(str(key.kid) for key in self._keys)) or "none"
        if found:
            raise TokenInvalidError(
                "the token names no key (kid), and the issuer has several that could have signed it: have the "
                "issuer set kid",
                "kid",
            )
        raise TokenInvalidError(
            f"the token is signed by key {str(header.get('kid'))[:80]!r} ({header.get('alg')}), which its issuer "
            f"does not publish; allowed: {known}: get a new token; if that is refused too, see whether jwks_uri is "
            "the issuer's",
            "kid",
        )

    def _may_refetch(self) -> bool:
        assert self._fetched_at is not None
        return time.monotonic() - self._fetched_at >= self._min_interval

    def _refetch(self) -> None:
        self._keys = tuple(_public_keys(self._fetch()))
        self._fetched_at = time.monotonic()

    def _matching(self, header: Mapping[str, Any]) -> list[Key]:
        algorithm, kid = str(header.get("alg", "")), header.get("kid")
        family = _FAMILIES.get(algorithm[:2])
        return [
            key
            for key in self._keys
            if family is not None
            and isinstance(key, family)
            and (key.alg in (None, algorithm))
            and (kid is None or key.kid == kid)
        ]


def _public_keys(document: Mapping[str, Any]) -> list[Key]:
    listed = document.get("keys")
    keys = []
    for said in listed if isinstance(listed, list) else []:
        if not isinstance(said, dict) or said.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if said.get("use", "sig") != "sig":
            continue
        try:
            keys.append(import_key(said))
        except (JoseError, ValueError, TypeError):
            continue  # of a kind that we do not know; others are still good
    return keys
