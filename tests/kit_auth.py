"""What other processes do with a shared token; at module level, so that they can be spawned."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Queue
from typing import Any

from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.life import TokenSource
from sinew.auth.server import AuthorizationServer, Form
from sinew.auth.store import Slot, StoredToken, TokenStore


def use(endpoint: ApiEndpoint, tokens: TokenStore, calls: int, said: Queue[str]) -> None:
    """Ask for the token again and again, each time as a task of its own would."""
    for _ in range(calls):
        said.put(TokenSource(endpoint, tokens).current())


def renew_until_killed(endpoint: ApiEndpoint, tokens: TokenStore) -> None:
    """Force a renewal again and again."""
    source = TokenSource(endpoint, tokens)
    token = source.current()
    while True:
        token = source.renewed(token)


def renew(endpoint: ApiEndpoint, tokens: TokenStore, times: int, said: Queue[str]) -> None:
    """Force a renewal again and again; an error ends it, and is said."""
    source = TokenSource(endpoint, tokens)
    try:
        token = source.current()
        for _ in range(times):
            token = source.renewed(token)
            said.put(token)
    except Exception as error:
        said.put(f"error: {error}")


def die(endpoint: ApiEndpoint, tokens: TokenStore, point: str) -> None:
    """Renew once, and be killed at a point: "asking", "answered" or "committed"."""
    source = TokenSource(endpoint, _Deadly(tokens, point), _DeadlyServer(endpoint, point))
    stored = tokens.peek(endpoint.slot)
    assert stored is not None and stored.access_token is not None
    source.renewed(stored.access_token)


def _kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _DeadlyServer(AuthorizationServer):
    def __init__(self, endpoint: ApiEndpoint, point: str) -> None:
        super().__init__(endpoint)
        self._point = point

    def token(self, form: Form, needed_for: str, tries: int = 3) -> Any:
        if self._point == "asking":
            _kill_myself()
        return super().token(form, needed_for, tries)


class _Deadly:
    """A store whose slots kill the process before or after they keep a token."""

    def __init__(self, tokens: TokenStore, point: str) -> None:
        self._tokens, self._point = tokens, point

    @contextmanager
    def slot(self, key: str) -> Iterator[Slot]:
        with self._tokens.slot(key) as slot:
            yield _DeadlySlot(slot, self._point)

    def peek(self, key: str) -> StoredToken | None:
        return self._tokens.peek(key)


class _DeadlySlot:
    def __init__(self, slot: Slot, point: str) -> None:
        self._slot, self._point = slot, point

    def load(self) -> StoredToken | None:
        return self._slot.load()

    def save(self, token: StoredToken) -> None:
        if self._point == "answered":
            _kill_myself()
        self._slot.save(token)
        if self._point == "committed":
            _kill_myself()

    def delete(self) -> None:
        self._slot.delete()
