"""The switchboard of a server: what tests and the demo turn while it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from demo.shop.api.chance import Chance, Order
from demo.shop.api.churning import Churner
from demo.shop.api.counters import Counters
from demo.shop.api.limiter import Limiter
from demo.shop.api.settings import Churn, Faults, Limit, Pages, Settings, Writing

_GROUPS: dict[str, type[Settings]] = {
    "faults": Faults,
    "limit": Limit,
    "pages": Pages,
    "churn": Churn,
    "writing": Writing,
}


class Control:
    """Faults, limits, lies and changes, each a group of settings that is replaced as a whole.

    The same switches are reached by HTTP below ``/control``, from this machine only.
    """

    faults: Faults
    limit: Limit
    pages: Pages
    churn: Churn
    writing: Writing

    def __init__(self, **groups: Any) -> None:
        self.counters = Counters()
        self.limiter = Limiter()
        self.chance = Chance()
        self.churner = Churner()
        self._lock = threading.Lock()
        self.reset()
        self.set(groups)

    def reset(self) -> None:
        """Everything as it is at the start: no faults, no limits, no counts, no expired token."""
        for name, model in _GROUPS.items():
            setattr(self, name, model())
        self.counters.reset()
        self.limiter.reset()
        self.chance.reset()
        self.churner.reset()
        with self._lock:
            self._seen: set[str] = set()
            self._expired: set[str] = set()

    def set(self, groups: Mapping[str, Any]) -> None:
        """Replace groups of settings, each given as its model or as a mapping of its members."""
        unknown = set(groups) - set(_GROUPS)
        if unknown:
            raise ValueError(f"{sorted(unknown)}: no such settings; allowed: {sorted(_GROUPS)}")
        read = {name: _GROUPS[name].model_validate(value) for name, value in groups.items()}
        for name, value in read.items():
            setattr(self, name, value)

    def settings(self) -> dict[str, Any]:
        """All groups, as JSON can hold them."""
        return {name: getattr(self, name).model_dump(mode="json") for name in _GROUPS}

    def fail_next(
        self,
        kind: str,
        count: int = 1,
        *,
        path: str = "/",
        method: str | None = None,
        skip: int = 0,
    ) -> None:
        """Strike the next ``count`` requests below a path with a fault, after leaving out ``skip``."""
        self.chance.order(Order(kind, count, path, method, skip))

    def expire_tokens(self) -> int:
        """Refuse from now on every credential that was accepted so far; returns how many these are."""
        with self._lock:
            self._expired |= self._seen
            return len(self._expired)

    def accepted(self, credential: str) -> None:
        """Remember the digest of a credential that was let in."""
        with self._lock:
            self._seen.add(credential)

    def expired(self, credential: str) -> bool:
        """True when this credential was made to expire."""
        with self._lock:
            return credential in self._expired
