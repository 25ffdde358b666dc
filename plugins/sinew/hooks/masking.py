"""Airflow's masker learns what is secret: of a connection's extra, and each token as it comes.

Airflow itself masks a connection's password, and values of the extra by the names of their keys.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from sinew.auth.endpoint import ApiEndpoint
    from sinew.auth.store import Slot, StoredToken, TokenStore

# Shorter lines of a key's PEM text say nothing about the key.
_PEM_LINE = 24


def mask_endpoint(endpoint: ApiEndpoint) -> None:
    """Have every secret of a connection masked in the logs of this task."""
    mask(secrets_of(endpoint))


def mask(secrets: Iterable[str]) -> None:
    """Have texts masked, in each form in which they could be written down."""
    new = [text for text in secrets if text and not _is_path(text)]
    if new:
        _mask_once(tuple(sorted({form for text in new for form in written_forms(text)})))


@lru_cache(maxsize=1024)
def _mask_once(texts: tuple[str, ...]) -> None:
    from airflow.sdk.log import mask_secret

    # One call, because each is a message to the task's supervisor.
    mask_secret(list(texts))


def written_forms(secret: str) -> Iterator[str]:
    """A secret as text, in JSON, in a URL or form, in base64; a key's PEM text line by line."""
    if "-----BEGIN" in secret:
        # Also how it stands in JSON. Airflow compiles all patterns anew for each that comes: few and short ones.
        body = (line.strip() for line in secret.splitlines() if "-----" not in line)
        yield from (line for line in body if len(line) >= _PEM_LINE)
        return
    yield secret
    for ascii_only in (True, False):
        yield json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield b64encode(secret.encode()).decode()


def secrets_of(endpoint: ApiEndpoint) -> Iterator[str]:
    """Every secret of an endpoint, and the pairs that Basic authentication makes of them."""
    from sinew.auth.findings import secrets_in
    from sinew.auth.models import Basic, OAuth2

    yield from secrets_in(endpoint.auth)
    yield from secrets_in(endpoint.tls)
    yield from secrets_in(dict(endpoint.headers))
    auth = endpoint.auth
    if isinstance(auth, Basic):
        yield f"{auth.username}:{auth.password.get_secret_value()}"
    if isinstance(auth, OAuth2) and auth.client_id and auth.client_secret:
        secret = auth.client_secret.get_secret_value()
        # RFC 6749 §2.3.1 encodes both; not every client does.
        yield f"{quote_plus(auth.client_id)}:{quote_plus(secret)}"
        yield f"{auth.client_id}:{secret}"


def _is_path(text: str) -> bool:
    """Whether this names a file with the secret, and is none itself."""
    try:
        return "/" in text and Path(text).is_file()
    except (OSError, ValueError):
        return False


class MaskingTokenStore:
    """A store whose tokens are masked from the moment on at which this process knows them."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens

    def peek(self, key: str) -> StoredToken | None:
        """The token as it is, without the lock."""
        return _masked(self._tokens.peek(key))

    @contextmanager
    def slot(self, key: str) -> Iterator[Slot]:
        """Hold the lock of a token."""
        with self._tokens.slot(key) as slot:
            yield _MaskingSlot(slot)


class _MaskingSlot:
    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def load(self) -> StoredToken | None:
        return _masked(self._slot.load())

    def save(self, token: StoredToken) -> None:
        _masked(token)
        self._slot.save(token)

    def delete(self) -> None:
        self._slot.delete()


def _masked(token: StoredToken | None) -> StoredToken | None:
    if token is not None:
        mask(filter(None, (token.access_token, token.refresh_token, token.id_token)))
    return token
