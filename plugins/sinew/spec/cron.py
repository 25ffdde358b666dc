"""Cron expressions of schedules: what they must be, so that their windows tile time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

# Years after the first day in which the clock's changes are looked at; their hours seldom move.
_YEARS = 12


def cron_flaw(cron: str, zone: str, start: date) -> str | None:
    """Why windows between the moments of a cron expression would not do; None when they do.

    Airflow steps by the clock on the wall. A moment in an hour that the clock skips is moved on by that hour; if the
    cron fires once more until then, a gap is left between two windows. What fires every hour is stepped
    otherwise, which goes wrong where it does not fire every day, or the clock changes by half an hour. All
    this was found by walking through the changes of many zones, which a test still does.
    """
    fields = _fields(cron)
    if fields is None:
        return (
            f"{cron!r} is no cron expression; allowed: five fields, such as 0 2 * * *: correct it"
        )
    changes = _changes(zone, start.year)
    if not changes:
        return None
    minutes, hours, *days = fields
    if hours == ["*"]:
        # By the hour Airflow adds the time between two moments on the wall, which a whole hour leaves as it is.
        if all(field == ["*"] for field in days) and all(_whole_hours(each) for each in changes):
            return None
        return (
            f"{cron!r} fires every hour, and {zone} changes its clock: a window would go wrong there; allowed: "
            f"chosen hours, or {_UTC}"
        )
    for lower, upper in changes:
        fired = list(_fired(minutes, hours, lower, upper + (upper - lower)))
        if fired and fired[0] < upper and len(fired) > 1 and fired[1] < fired[0] + (upper - lower):
            return (
                f"{cron!r} fires at {fired[0]:%H:%M} and {fired[1]:%H:%M}, but the clock in {zone} skips "
                f"{lower:%H:%M} to {upper:%H:%M} on {lower:%Y-%m-%d}: Airflow would leave a gap between its windows; "
                f"allowed: moments further apart there, or {_UTC}"
            )
    return None


def _whole_hours(change: tuple[datetime, datetime]) -> bool:
    lower, upper = change
    return (upper - lower) % timedelta(hours=1) == timedelta(0) and lower.minute == 0


_UTC = "`timezone: UTC`"
Field = list[int | str]


def _fields(cron: str) -> list[Field] | None:
    # Airflow's own reader of cron expressions.
    from croniter import croniter
    from croniter.croniter import CroniterError

    if len(cron.split()) != 5:
        return None
    try:
        expanded: list[Field] = croniter(cron).expanded
        croniter(cron).get_next()
    except (CroniterError, ValueError):
        return None
    return expanded


def window_start(cron: str, day: date) -> datetime:
    """The cron's last moment up to a day's midnight, by the clock on the wall: there its first window begins."""
    from croniter import croniter

    midnight = datetime(day.year, day.month, day.day)
    found: datetime = croniter(cron, midnight + timedelta(seconds=1)).get_prev(datetime)
    return found


def _fired(minutes: Field, hours: Field, lower: datetime, upper: datetime) -> Iterator[datetime]:
    moment = lower
    while moment < upper:
        if _holds(minutes, moment.minute) and _holds(hours, moment.hour):
            yield moment
        moment += timedelta(minutes=1)


def _holds(field: Field, value: int) -> bool:
    return field == ["*"] or value in field


@lru_cache(maxsize=256)
def _changes(zone: str, year: int) -> tuple[tuple[datetime, datetime], ...]:
    """Times on the wall that the clock skips, or reads twice (its end before its beginning); () for a steady clock."""
    tz = ZoneInfo(zone)
    day = datetime(year, 1, 1, tzinfo=UTC)
    found = []
    while day.year < year + _YEARS:
        after = day + timedelta(days=1)
        if day.astimezone(tz).utcoffset() != after.astimezone(tz).utcoffset():
            found.append(_change(tz, day, after))
        day = after
    return tuple(found)


def _change(tz: ZoneInfo, before: datetime, after: datetime) -> tuple[datetime, datetime]:
    old = before.astimezone(tz).utcoffset()
    new = after.astimezone(tz).utcoffset()
    assert old is not None and new is not None
    while after - before > timedelta(minutes=1):
        middle = before + (after - before) / 2
        before, after = (
            (middle, after) if middle.astimezone(tz).utcoffset() == old else (before, middle)
        )
    at = after.replace(second=0, microsecond=0, tzinfo=None)
    return at + old, at + new
