"""Pace: a server's limit is used and not passed, whether it is configured, told in headers, or both."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from demo.shop.api.server import ShopServer
from sinew.api.pace import Pace
from sinew.api.rate_headers import Quota, quota_of, retry_after
from sinew.api.transport import Call, Policy, send
from sinew.errors import InterruptedStepError
from sinew.spec.exchange import Retry
from tests.kit_api import ApiSession, Asked, Reply, serving

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DATE = format_datetime(NOW, usegmt=True)
EPOCH = int(NOW.timestamp())


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "quota"),
        [
            ({"RateLimit": '"default";r=5;t=30'}, Quota(5, 30)),
            (
                {"RateLimit": '"a";r=5;t=30', "RateLimit-Policy": '"a";q=100;w=60'},
                Quota(5, 30, 100, 60),
            ),
            (
                {
                    "RateLimit": '"day";r=900;t=3000, "burst";r=3;t=1',
                    "RateLimit-Policy": '"burst";q=10;w=1, "day";q=1000;w=86400',
                },
                Quota(3, 1, 10, 1),
            ),
            ({"RateLimit": "limit=100, remaining=7, reset=20"}, Quota(7, 20, 100)),
            (
                {"RateLimit-Remaining": "7", "RateLimit-Limit": "100", "RateLimit-Reset": "20"},
                Quota(7, 20, 100),
            ),
            ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "20"}, Quota(7, 20)),
            (
                {"x-ratelimit-remaining": "7", "Date": DATE, "X-RateLimit-Reset": f"{EPOCH + 9}"},
                Quota(7, 9),
            ),
            ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH + 9}000"}, Quota(0, 9)),
            ({"X-RateLimit-Remaining": "many"}, None),
            ({}, None),
        ],
    )
    def test_what_is_left_is_read_in_every_dialect(
        self, headers: dict[str, str], quota: Quota | None
    ) -> None:
        from requests.structures import CaseInsensitiveDict

        assert quota_of(CaseInsensitiveDict(headers), NOW) == quota

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "7"}, 7),
            ({"Retry-After": "Sun, 01 Mar 2026 12:00:09 GMT"}, 9),
            ({"Retry-After": "Sun, 01 Mar 2026 12:00:09 GMT", "Date": "Sun, 01 Mar 2026 12:00:05 GMT"}, 4),
            ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0),
            ({"Retry-After": "soon"}, None),
            ({"Retry-After": "-5"}, None),
            ({}, None),
        ],
    )  # fmt: skip
    def test_retry_after_is_read_in_both_forms(
        self, headers: dict[str, str], seconds: float | None
    ) -> None:
        assert retry_after(headers, NOW) == seconds


class TestWaiting:
    def test_a_pause_holds_every_thread(self) -> None:
        pace = Pace()
        pace.pause(0.2)
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            passed = list(pool.map(lambda _: _pass(pace), range(4)))
        assert all(moment - began >= 0.2 for moment in passed)

    def test_a_pause_that_comes_while_one_waits_holds_too(self) -> None:
        pace = Pace(10)
        _pass(pace)
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_pass, pace)
            pace.pause(0.3)
            assert waiting.result() - began >= 0.3

    def test_a_wait_ends_when_asked_to_stop(self) -> None:
        pace, stop = Pace(), threading.Event()
        pace.pause(60)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_pass, pace, stop.is_set)
            stop.set()
            with pytest.raises(InterruptedStepError):
                waiting.result(timeout=5)


def _pass(pace: Pace, stop: Callable[[], bool] | None = None) -> float:
    with pace.slot(stop):
        return time.monotonic()


@dataclass
class FixedWindow:
    """So many requests in each second of the server's clock; what it tells is up to ``told``."""

    limit: int
    told: Callable[[FixedWindow, float], dict[str, str]]
    counts: dict[int, int] = field(default_factory=dict)
    admitted: list[float] = field(default_factory=list)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Reply:
        with self.lock:
            now = time.time()
            used = self.counts.get(int(now), 0)
            if used >= self.limit:
                self.refused += 1
                return Reply({}, 429, {"Retry-After": "1", **self.told(self, now)})
            self.counts[int(now)] = used + 1
            self.admitted.append(now)
            return Reply({}, 200, self.told(self, now))

    def left(self, now: float) -> int:
        return self.limit - self.counts.get(int(now), 0)

    @property
    def rate(self) -> float:
        """Admitted requests a second."""
        return (len(self.admitted) - 1) / (self.admitted[-1] - self.admitted[0])


def nothing(window: FixedWindow, now: float) -> dict[str, str]:
    return {}


def seconds_left(window: FixedWindow, now: float) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(window.left(now)),
        "X-RateLimit-Reset": str(math.ceil(int(now) + 1 - now)),
    }


def policy_and_rest(window: FixedWindow, now: float) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"p";q={window.limit};w=1',
        "RateLimit": f'"p";r={window.left(now)};t={math.ceil(int(now) + 1 - now)}',
    }


def load(session: ApiSession, requests: int, pace: Pace, threads: int) -> None:
    """Send so many requests as fast as the pace lets them out."""
    policy = Policy(Retry(attempts=20, first_delay=0.01, longest_delay=0.05), pace=pace)
    call = Call("GET", "/", "GET /")
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(send, session, call, policy) for _ in range(requests)]:
            done.result()


# Rates are measured by the clock, which a busy machine bends.
@pytest.mark.campaign
class TestAtTheLimit:
    """A few seconds each: the rate is the server's limit within ten per cent, with few refusals."""

    @pytest.mark.parametrize("threads", [1, 4])
    def test_a_configured_ceiling(self, threads: int) -> None:
        window = FixedWindow(40, nothing)
        with serving(window) as (_, session):
            load(session, 120, Pace(40), threads)
        assert 36 <= window.rate <= 40.5 and window.refused <= 3

    @pytest.mark.parametrize("threads", [1, 4])
    @pytest.mark.parametrize("told", [seconds_left, policy_and_rest])
    def test_what_the_headers_say(self, told: Any, threads: int) -> None:
        window = FixedWindow(40, told)
        with serving(window) as (_, session):
            load(session, 140, Pace(), threads)
        # What is under way when the last place is taken may be one too many.
        assert window.rate >= 36 and window.refused <= 3 + threads

    @pytest.mark.parametrize(
        ("headers", "least"),
        # X-RateLimit tells no window, and when the bucket is full only to the second, rounded up twice.
        [(["x"], 20), (["ietf"], 36), (["x", "ietf"], 36)],
    )
    def test_a_bucket_that_tells_what_is_left(self, headers: list[str], least: float) -> None:
        with ShopServer() as shop_api, ApiSession(shop_api.url) as session:
            shop_api.control.set({"limit": {"per_second": 40, "burst": 40, "headers": headers}})
            orders = Call("GET", "/orders/1", "GET /orders/1")
            policy = Policy(Retry(attempts=20, first_delay=0.01), pace=Pace())
            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(send, session, orders, policy) for _ in range(200)]:
                    done.result()
            counters = shop_api.control.counters
        # The bucket is full at the start, so its 40 requests come on top.
        seconds = counters.count() / counters.rate()
        assert (counters.count() - 40) / seconds >= least and counters.limited <= 5
