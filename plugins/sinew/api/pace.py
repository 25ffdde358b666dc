"""How fast requests go out: a ceiling of our own, and what the server says, shared by a process's threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import inf

from sinew.api.rate_headers import LONGEST_WAIT, Quota
from sinew.errors import InterruptedStepError, ThrottledError

# The server's windows and ours do not begin together: evenly spaced at exactly its limit, N + 1 requests
# would now and then fall into one of its windows, and each 429 costs more than these four per cent.
_BELOW_CEILING = 0.96
# From this share of a quota on, what is left is spread over the time that is left.
_LOW = 0.1
# How long a wait goes on without asking whether to stop, in seconds.
_LOOK_UP = 0.5

Stop = Callable[[], bool]


class Pace:
    """Says when the next request may go out."""

    def __init__(self, requests_per_second: float | None = None) -> None:
        self._interval = 1 / (requests_per_second * _BELOW_CEILING) if requests_per_second else 0.0
        self._lock = threading.Lock()
        self._next = 0.0
        self._closed_until = 0.0
        self._under_way = 0
        self._quota: Quota | None = None
        self._left = 0.0
        self._resets_at = 0.0

    @contextmanager
    def slot(self, stop: Stop | None = None, longest: float = inf) -> Iterator[None]:
        """Wait for one's turn, then hold it while the request is under way.

        Raises ThrottledError where the server's quota is used up for longer than so many seconds.
        """
        wait_until(self._reserve(longest), stop)
        while (reopens := self._closed_until) > time.monotonic():
            wait_until(reopens, stop)
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def pause(self, seconds: float) -> None:
        """Let no request out for so long, whichever thread's it is (429, 503)."""
        with self._lock:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def hear(self, quota: Quota | None) -> None:
        """Take notice of what an answer says is left."""
        if quota is None:
            return
        with self._lock:
            now = time.monotonic()
            resets_at = now + quota.reset
            risen = quota.remaining > self._left + self._under_way
            if self._quota is not None and now < self._resets_at and not risen:
                # Whole seconds are rounded up: the earliest end that was told is the nearest to the truth.
                resets_at = min(resets_at, self._resets_at)
            self._quota, self._resets_at = quota, resets_at
            # Requests that are under way are not counted in the answer.
            self._left = quota.remaining - max(0, self._under_way - 1)

    def _reserve(self, longest: float) -> float:
        """The moment (monotonic seconds) at which a request may go out; reserved for it."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next, self._closed_until)
            interval = self._interval
            if self._quota is not None and turn < self._resets_at:
                self._left -= 1
                far = self._resets_at - now > longest
                if self._left < 0 and far:
                    raise _throttled(self._resets_at - now, longest)
                if self._left < 0:
                    turn, interval = self._after_quota(turn, interval)
                elif not far and self._left < max(1.0, _LOW * (self._quota.limit or 0)):
                    interval = max(interval, self._spread(turn))
            self._next = turn + interval
            return turn

    def _after_quota(self, turn: float, interval: float) -> tuple[float, float]:
        assert self._quota is not None
        pace = self._steady()
        if pace and self._resets_at - turn <= 1:
            # Too near to tell by whole seconds: go on at the limit's own pace.
            return turn + pace, max(interval, pace)
        self._left = 0
        return self._resets_at, interval

    def _spread(self, now: float) -> float:
        even = (self._resets_at - now) / (self._left + 1)
        pace = self._steady()
        return min(even, pace) if pace and self._resets_at - now <= 1 else even

    def _steady(self) -> float | None:
        """Seconds between two requests at exactly the limit, where the server tells its window."""
        assert self._quota is not None
        if self._quota.window and self._quota.limit:
            return self._quota.window / self._quota.limit / _BELOW_CEILING
        return None


def _throttled(wait: float, longest: float) -> ThrottledError:
    at = datetime.now(UTC) + timedelta(seconds=min(wait, LONGEST_WAIT))
    return ThrottledError(
        f"the server's quota of requests is used up for {wait:,.0f} seconds more; allowed: {longest:,.0f} "
        f"(retry.longest_wait): try again at {at:%Y-%m-%d %H:%M:%S} UTC",
        at,
    )


def wait_until(moment: float, stop: Stop | None = None) -> None:
    """Sleep until a moment (monotonic seconds); raises InterruptedStepError when asked to stop."""
    while True:
        if stop is not None and stop():
            raise InterruptedStepError("stopped as asked, between two requests")
        left = moment - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _LOOK_UP) if stop is not None else left)


_paces: dict[tuple[str, float | None], Pace] = {}
_paces_lock = threading.Lock()


def pace_of(server: str, requests_per_second: float | None) -> Pace:
    """The one pace of this process for a server (its origin, or a name for it) and a ceiling."""
    with _paces_lock:
        return _paces.setdefault((server, requests_per_second), Pace(requests_per_second))
