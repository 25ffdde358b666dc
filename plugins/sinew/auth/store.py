"""Where tokens are kept: one slot a token, one process at a time in a slot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol


@dataclass(frozen=True)
class StoredToken:
    """What the authorization server gave us; nothing secret in its repr.

    Life is counted by the store's clock, which all processes share, so that a worker whose clock is
    off neither uses a dead token nor throws a live one away: ``expires_in`` is the seconds left
    when the token was saved (None: not said), ``age`` the seconds since then, filled in on loading.
    ``seed`` tells the secret it was first got with, ``ended`` why it can never be renewed.
    """

    access_token: str | None = field(default=None, repr=False)
    expires_in: float | None = None
    age: float = 0.0
    scope: str | None = None
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seed: str | None = field(default=None, repr=False)
    thumbprint: str | None = None
    lifetime: float | None = None
    ended: str | None = None

    @property
    def remaining(self) -> float | None:
        """Seconds until the access token expires; None when the server did not say."""
        return None if self.expires_in is None else self.expires_in - self.age


class Slot(Protocol):
    """One token, while no other process can renew it."""

    def load(self) -> StoredToken | None:
        """The token as it is now, read under the lock."""

    def save(self, token: StoredToken) -> None:
        """Keep a token for good: it is committed when this returns, and seen by all processes.

        The commit ends the lock, so it is the last thing that is done in a slot.
        """

    def delete(self) -> None:
        """Forget the token; committed when this returns."""


class TokenStore(Protocol):
    """Tokens for all processes of an installation."""

    def slot(self, key: str) -> AbstractContextManager[Slot]:
        """Hold the lock of a token, across processes and machines."""

    def peek(self, key: str) -> StoredToken | None:
        """The token as it is, without the lock."""


class MemoryTokenStore:
    """Tokens of one process, for trying a connection without a database. Safe for threads."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[StoredToken, float]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def slot(self, key: str) -> Iterator[Slot]:
        """Hold the lock of a token among threads."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield _MemorySlot(self, key)

    def peek(self, key: str) -> StoredToken | None:
        """The token as it is."""
        found = self._kept.get(key)
        return replace(found[0], age=time.monotonic() - found[1]) if found else None

    def put(self, key: str, token: StoredToken | None) -> None:
        """Replace or forget a token."""
        if token is None:
            self._kept.pop(key, None)
        else:
            self._kept[key] = (replace(token, age=0.0), time.monotonic())


class _MemorySlot:
    def __init__(self, store: MemoryTokenStore, key: str) -> None:
        self._store, self._key = store, key

    def load(self) -> StoredToken | None:
        return self._store.peek(self._key)

    def save(self, token: StoredToken) -> None:
        self._store.put(self._key, token)

    def delete(self) -> None:
        self._store.put(self._key, None)
