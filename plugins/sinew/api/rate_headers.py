"""What a server says about its limits (Retry-After, RateLimit, X-RateLimit) and its clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

# X-RateLimit-Reset is seconds from now at some servers, seconds or milliseconds since 1970 at others.
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12
# Beyond any wait that makes sense; a calendar ends somewhere.
LONGEST_WAIT = 366 * 86_400.0
_MEMBER = re.compile(r';\s*([qwrt])\s*=\s*"?(\d+(?:\.\d+)?)')
_DRAFT_7 = re.compile(r"\b(limit|remaining|reset)\s*=\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Quota:
    """What is left: ``remaining`` requests within ``reset`` seconds, of ``limit`` in ``window`` seconds."""

    remaining: float
    reset: float
    limit: float | None = None
    window: float | None = None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by Retry-After, given as seconds or as a date (RFC 9110, section 10.2.3).

    A date is compared with the answer's own Date, so that the difference of two clocks does not count.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return min(float(value), LONGEST_WAIT)
    until = _http_date(value)
    if until is None:
        return None
    server_now = _http_date(headers.get("Date", "")) or now
    return min(max(0.0, (until - server_now).total_seconds()), LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo is not None else None


def earliest_asked(headers: Mapping[str, str], sent_at: datetime, came_at: datetime) -> datetime:
    """When a request was sent, by our clock or by the server's (its Date), whichever is behind.

    What the server writes from then on may be missing in its answer, and has a later moment by its clock.
    """
    date = _http_date(headers.get("Date", ""))
    if date is None or date.year < 2000:  # a clock that was never set
        return sent_at
    return min(sent_at, date - (came_at - sent_at))


def quota_of(headers: Mapping[str, str], now: datetime) -> Quota | None:
    """The tightest quota that an answer's headers tell, or None.

    RateLimit and RateLimit-Policy in the forms of draft-ietf-httpapi-ratelimit-headers (8 and later:
    ``"name";r=5;t=30``; 7: ``limit=100, remaining=5, reset=30``; earlier: RateLimit-Remaining and so
    on), and X-RateLimit-Remaining with X-RateLimit-Reset.
    """
    found = [
        *_structured(headers),
        *_draft_7(headers),
        *_separate(headers, "RateLimit-", now),
        *_separate(headers, "X-RateLimit-", now),
        *_separate(headers, "X-Rate-Limit-", now),
    ]
    return min(found, key=lambda quota: quota.remaining, default=None)


def _structured(headers: Mapping[str, str]) -> Iterable[Quota]:
    policies = {
        name: members for name, members in _items(headers.get("RateLimit-Policy", "")) if members
    }
    for name, members in _items(headers.get("RateLimit", "")):
        if "r" in members:
            policy = policies.get(name, {})
            yield Quota(
                members["r"], members.get("t", policy.get("w", 1)), policy.get("q"), policy.get("w")
            )


def _items(value: str) -> Iterable[tuple[str, dict[str, float]]]:
    for item in value.split(","):
        name = item.split(";")[0].strip().strip('"')
        yield name, {key: float(number) for key, number in _MEMBER.findall(item)}


def _draft_7(headers: Mapping[str, str]) -> Iterable[Quota]:
    said = {name: float(number) for name, number in _DRAFT_7.findall(headers.get("RateLimit", ""))}
    if "remaining" in said:
        yield Quota(said["remaining"], said.get("reset", 1), said.get("limit"), _window_of(headers))


def _window_of(headers: Mapping[str, str]) -> float | None:
    members = [found for _, found in _items(headers.get("RateLimit-Policy", "")) if "w" in found]
    return members[0]["w"] if members else None


def _separate(headers: Mapping[str, str], prefix: str, now: datetime) -> Iterable[Quota]:
    remaining = _number(headers.get(prefix + "Remaining"))
    reset = _number(headers.get(prefix + "Reset"))
    if remaining is None:
        return
    if reset is not None and reset >= _EPOCH_SECONDS:
        reset = reset / 1000 if reset >= _EPOCH_MILLISECONDS else reset
        reset = max(0.0, reset - _server_now(headers, now))
    limit = _number(headers.get(prefix + "Limit"))
    yield Quota(remaining, 1.0 if reset is None else reset, limit, _window_of(headers))


def _server_now(headers: Mapping[str, str], now: datetime) -> float:
    """The server's clock in seconds since 1970: ours, where it lies within the second that Date tells."""
    date = _http_date(headers.get("Date", ""))
    if date is None:
        return now.timestamp()
    return min(max(now.timestamp(), date.timestamp()), date.timestamp() + 1)


def _number(value: str | None) -> float | None:
    # A date in place of seconds, such as 2026-03-01T12:00:00Z, is no number.
    match = re.match(r"\s*(-?\d+(?:\.\d+)?)\s*(?:[,;]|$)", value or "")
    return float(match[1]) if match else None
