"""Which request a fault strikes: decided by a seed and the request, never by the order of threads."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass

from demo.shop.api.settings import AFTER, BEFORE, KINDS, Faults


@dataclass
class Order:
    """A fault that a test asked for: the next ``count`` requests that fit."""

    kind: str
    count: int
    path: str
    method: str | None
    skip: int

    def takes(self, method: str, path: str) -> bool:
        """True when this request is one of those; counts it."""
        if self.count == 0 or self.method not in (None, method) or not path.startswith(self.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.count -= 1
        return True


@dataclass(frozen=True)
class Strike:
    """What happens to one request."""

    kind: str | None = None
    seconds: float = 0.0

    @property
    def before(self) -> bool:
        """True when it comes instead of the work."""
        return self.kind in BEFORE

    @property
    def after(self) -> bool:
        """True when the work is done, but its answer is spoilt."""
        return self.kind in AFTER


class Chance:
    """Draws the faults."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget what came and what was ordered."""
        with self._lock:
            self._orders: list[Order] = []
            self._came: Counter[bytes] = Counter()
            self._failed: Counter[bytes] = Counter()

    def order(self, order: Order) -> None:
        """Strike the next requests that fit."""
        if order.kind not in KINDS:
            raise ValueError(f"{order.kind!r} is no fault; allowed: {KINDS}")
        with self._lock:
            self._orders.append(order)

    def draw(self, faults: Faults, method: str, path: str, identity: bytes) -> Strike:
        """The fault of one request; ``identity`` says when two requests are the same one again."""
        with self._lock:
            ordered = next((o.kind for o in self._orders if o.takes(method, path)), None)
            if ordered:
                slow = ordered == "slow"
                return Strike(None if slow else ordered, faults.slow_seconds if slow else 0.0)
            if not path.startswith(faults.path):
                return Strike()
            return self._drawn(faults, hashlib.blake2b(identity, digest_size=16).digest())

    def _drawn(self, faults: Faults, who: bytes) -> Strike:
        shares = [(kind, getattr(faults, kind)) for kind in (*BEFORE, *AFTER)]
        if not faults.slow and not any(share for _, share in shares):
            return Strike()
        self._came[who] += 1
        seed = b"%d|%d|" % (faults.seed, self._came[who]) + who
        kind = _picked(shares, _uniform(b"kind" + seed))
        if kind and faults.in_a_row and self._failed[who] >= faults.in_a_row:
            kind = None
        self._failed[who] = self._failed[who] + 1 if kind else 0
        slow = _uniform(b"slow" + seed) < faults.slow
        return Strike(kind, faults.slow_seconds if slow else 0.0)


def _uniform(text: bytes) -> float:
    """A number in [0, 1) that the text determines."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest()) / 2**56


def _picked(shares: list[tuple[str, float]], at: float) -> str | None:
    for kind, share in shares:
        at -= share
        if at < 0:
            return kind
    return None
