"""Moments as an API writes them, and the parameters that ask for what is new."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sinew.api.filling import as_text
from sinew.errors import ConfigurationError
from sinew.spec.resources import FORMATS, Bookmark, Incremental, Moments, Since, Window

# The names under which a caller gives what is asked for.
WINDOW_FROM, WINDOW_TO = "window_from", "window_to"
SINCE, BOOKMARK = "since", "bookmark"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A clock shows some hours twice, and may skip a midnight.
_MOST_HOURS_BACK = 49
_STEPS = {
    "seconds": timedelta(seconds=1),
    "milliseconds": timedelta(milliseconds=1),
    "microseconds": timedelta(microseconds=1),
}


def incremental_params(
    incremental: Incremental | None, values: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """The parameters that ask for what is new.

    ``values`` holds aware datetimes under window_from and window_to (half-open) or since, or a text
    under bookmark; without since or bookmark (the first time) everything is asked for.
    """
    if isinstance(incremental, Window):
        lower, upper = _moment(values, WINDOW_FROM), _moment(values, WINDOW_TO)
        step = smallest_step(incremental)
        lower -= step if incremental.lower == "exclusive" else timedelta(0)
        # A second or millisecond before the end, what changed within it would be in no window. What lies on
        # the end comes twice instead, as the same row.
        whole = incremental.format == "date" or step == _STEPS["microseconds"]
        upper -= step if incremental.upper == "inclusive" and whole else timedelta(0)
        return [
            (incremental.from_parameter, written(lower, incremental)),
            (incremental.to_parameter, written(upper, incremental)),
        ]
    if isinstance(incremental, Since) and values.get(SINCE) is not None:
        since = latest_written(_moment(values, SINCE), incremental)
        return [(incremental.parameter, written(since, incremental))]
    if isinstance(incremental, Bookmark) and values.get(BOOKMARK) is not None:
        return [(incremental.parameter, as_text(values[BOOKMARK], BOOKMARK))]
    return []


def _moment(values: Mapping[str, Any], name: str) -> datetime:
    moment = values.get(name)
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigurationError(
            f"{name} is {moment!r}; needed here: a moment with a time zone, such as "
            "2026-03-29T00:00:00+00:00"
        )
    return moment.astimezone(UTC)


def smallest_step(moments: Moments) -> timedelta:
    """The difference between two neighbouring moments that the format can tell apart."""
    if moments.format == "date":
        return timedelta(days=1)
    if moments.format == "epoch_milliseconds":
        return _STEPS["milliseconds"]
    if moments.format == "rfc3339":
        return _STEPS[moments.precision]
    return _STEPS["microseconds" if "%f" in moments.format else "seconds"]


def written(moment: datetime, moments: Moments) -> str:
    """The moment in the API's words.

    Raises ConfigurationError for a moment that the format cannot say: rounded, two windows would
    overlap, or leave a gap.
    """
    local = moment.astimezone(moments.tz)
    text = _text(local, moments)
    if moments.format in ("date", "rfc3339") or "%" not in moments.format:
        lost = _lost(local, moments)
    else:
        lost = _read_back(text, moments) != moment
    if lost:
        raise ConfigurationError(
            f"{moment:%Y-%m-%dT%H:%M:%S.%f%z} cannot be written as {moments.format} in "
            f"{moments.zone} without a loss ({text}): use a finer format, or windows that begin there"
        )
    return text


def latest_written(moment: datetime, moments: Moments) -> datetime:
    """The latest moment up to the one given that the format can say, for where a bit earlier does no harm.

    The moment itself where there is none; ``written`` says what is wrong then.
    """
    for hours in range(_MOST_HOURS_BACK):
        earlier = _floor((moment - timedelta(hours=hours)).astimezone(moments.tz), moments)
        if earlier is not None and earlier <= moment:
            return earlier
    return moment


def _floor(local: datetime, moments: Moments) -> datetime | None:
    """What is left of a moment once it is written; None where the text could mean another one."""
    if moments.format == "date":
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        # A clock that skips midnight shows another hour after there and back.
        there = midnight.astimezone(UTC).astimezone(moments.tz)
        return midnight.astimezone(UTC) if there.hour == 0 else None
    if moments.format in FORMATS:
        step = _STEPS["seconds"] if moments.format == "epoch_seconds" else smallest_step(moments)
        utc = local.astimezone(UTC)
        return utc - (utc - _EPOCH) % step
    return _read_back(_text(local, moments), moments)


def _text(local: datetime, moments: Moments) -> str:
    if moments.format == "date":
        return local.date().isoformat()
    if moments.format == "rfc3339":
        timespec = moments.precision
        return local.isoformat(timespec=timespec).replace("+00:00", "Z")
    since_epoch = local - _EPOCH
    if moments.format == "epoch_seconds":
        return str(since_epoch // timedelta(seconds=1))
    if moments.format == "epoch_milliseconds":
        return str(since_epoch // timedelta(milliseconds=1))
    return local.strftime(moments.format)


def _lost(local: datetime, moments: Moments) -> bool:
    if moments.format == "date":
        clock = (local.hour, local.minute, local.second, local.microsecond)
        return clock != (0, 0, 0, 0) or local.fold == 1
    step = timedelta(seconds=1) if moments.format == "epoch_seconds" else smallest_step(moments)
    return bool((local - _EPOCH) % step)


def _read_back(text: str, moments: Moments) -> datetime | None:
    """What a reader makes of the text; None where it could mean two moments."""
    try:
        read = datetime.strptime(text, moments.format)
    except ValueError:
        return None
    if read.tzinfo is not None:
        return read.astimezone(UTC)
    # In an hour that clocks show twice, nobody knows which of the two a server takes.
    twice = [read.replace(tzinfo=moments.tz, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return twice[0] if twice[0] == twice[1] else None
