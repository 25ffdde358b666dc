"""What the server has seen: by method, path and status, by second, and how many at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

DROPPED = 0  # the status of a request whose connection was dropped
LIMITED = "limited"


def template(path: str) -> str:
    """The path with its variable part named: ``/orders/7/lines`` becomes ``/orders/{id}/lines``."""
    parts = path.split("/")
    if len(parts) > 2 and parts[2] not in ("bulk", "search"):
        parts[2] = "{id}"
    return "/".join(parts)


class Counters:
    """Counts of requests; any thread may read and add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Begin anew; requests that are under way go on."""
        with self._lock:
            self.by_request: Counter[tuple[str, str, int]] = Counter()
            self.faults: Counter[str] = Counter()
            self.unauthorized: Counter[str] = Counter()
            self.arrived: Counter[int] = Counter()  # by second of the monotonic clock
            self.admitted: Counter[int] = Counter()  # those that no rate limit turned away
            self.limited = 0
            self.peak = self.in_flight
            self._first = self._last = 0.0
            self._admitted = 0

    def begin(self, limited: bool) -> None:
        """A request arrived."""
        at = time.monotonic()
        with self._lock:
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            self.arrived[int(at)] += 1
            if limited:
                self.limited += 1
                return
            self.admitted[int(at)] += 1
            self._first = self._first or at
            self._last = at
            self._admitted += 1

    def end(self, method: str, path: str, status: int, fault: str | None) -> None:
        """It was answered, or dropped."""
        with self._lock:
            self.in_flight -= 1
            self.by_request[method, template(path), status] += 1
            if fault:
                self.faults[fault] += 1

    def refused(self, error: str) -> None:
        """A request did not say who it is."""
        with self._lock:
            self.unauthorized[error] += 1

    def count(
        self, path: str | None = None, *, method: str | None = None, status: int | None = None
    ) -> int:
        """Requests by path template, method and status, each of them any when left out."""
        with self._lock:
            return sum(
                number
                for (one, where, answered), number in self.by_request.items()
                if method in (None, one) and path in (None, where) and status in (None, answered)
            )

    def rate(self) -> float:
        """Admitted requests a second from the first to the last of them, the first burst included."""
        with self._lock:
            seconds = self._last - self._first
            return (self._admitted - 1) / seconds if seconds else 0.0

    def snapshot(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        rate = self.rate()
        with self._lock:
            return {
                "requests": [
                    {"method": method, "path": path, "status": status, "count": number}
                    for (method, path, status), number in sorted(self.by_request.items())
                ],
                "faults": dict(self.faults),
                "unauthorized": dict(self.unauthorized),
                "arrived_per_second": list(self.arrived.values()),
                "admitted_per_second": list(self.admitted.values()),
                "limited": self.limited,
                "peak_in_flight": self.peak,
                "admitted_rate": rate,
            }
