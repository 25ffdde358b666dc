"""Rate limits: a token bucket for each client, and the headers that tell of it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

from demo.shop.api.settings import Limit


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass, and the headers for its answer."""

    admitted: bool
    headers: dict[str, str]


class Limiter:
    """All clients' buckets under one limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def reset(self) -> None:
        """Fill every bucket."""
        with self._lock:
            self._buckets.clear()

    def take(self, client: str, limit: Limit) -> Verdict:
        """Take a token if there is one."""
        if limit.per_second is None:
            return Verdict(True, {})
        at = self._clock()
        with self._lock:
            bucket = self._buckets.setdefault(client, _Bucket(limit.size, at))
            gained = (at - bucket.at) * limit.per_second
            bucket.tokens, bucket.at = min(limit.size, bucket.tokens + gained), at
            admitted = bucket.tokens >= 1
            bucket.tokens -= admitted
            tokens = bucket.tokens
        headers = _told(limit, tokens)
        if not admitted:
            headers |= _retry_after(limit, (1 - tokens) / limit.per_second)
        return Verdict(admitted, headers)


def _told(limit: Limit, tokens: float) -> dict[str, str]:
    """The quota in each of the dialects that are switched on."""
    assert limit.per_second is not None
    quota, left = int(limit.size), int(tokens)
    window = max(1, round(limit.size / limit.per_second))
    full_in = math.ceil((limit.size - tokens) / limit.per_second)
    headers = {}
    if "x" in limit.headers:
        headers["X-RateLimit-Limit"] = str(quota)
        headers["X-RateLimit-Remaining"] = str(left)
        headers["X-RateLimit-Reset"] = str(math.ceil(time.time()) + full_in)
    if "ietf" in limit.headers:
        headers["RateLimit-Policy"] = f'"default";q={quota};w={window}'
        headers["RateLimit"] = f'"default";r={left};t={full_in}'
    if "ietf-07" in limit.headers:
        headers["RateLimit-Limit"] = str(quota)
        headers["RateLimit-Remaining"] = str(left)
        headers["RateLimit-Reset"] = str(full_in)
    return headers


def _retry_after(limit: Limit, seconds: float) -> dict[str, str]:
    """RFC 9110, 10.2.3: whole seconds, or a date; rounded up, never to less than one."""
    wait = max(1, math.ceil(seconds))
    if limit.retry_after == "seconds":
        return {"Retry-After": str(wait)}
    if limit.retry_after == "date":
        return {"Retry-After": formatdate(math.ceil(time.time()) + wait, usegmt=True)}
    return {}
