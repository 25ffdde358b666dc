"""Points in time as the shop writes them: RFC 3339, UTC, microseconds, ``Z``; so texts sort as times do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"-?\d{1,15}")
# Counts of seconds have fewer digits than this until the year 5138; longer ones are milliseconds.
_MILLIS_DIGITS = 12


def text_of(moment: datetime) -> str:
    """The canonical text of an aware datetime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """The canonical text of the present."""
    return text_of(datetime.now(UTC))


def canonical(text: str) -> str:
    """Any of RFC 3339 with an offset, a date (midnight UTC), or seconds or milliseconds since 1970.

    Raises ValueError for everything else; a local time without an offset would mean something else
    to each reader.
    """
    if _NUMBER.fullmatch(text):
        number = int(text)
        milliseconds = number if len(text.lstrip("-")) >= _MILLIS_DIGITS else number * 1000
        return text_of(_EPOCH + timedelta(milliseconds=milliseconds))
    if len(text) == len("2026-01-31"):
        return text_of(datetime.fromisoformat(text).replace(tzinfo=UTC))
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset from UTC")
    return text_of(moment)
