"""Which window a run takes that no schedule gave one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sinew.errors import ConfigurationError
from sinew.spec.resources import Window
from sinew.spec.sync import Sync


def moment_of(text: str | None, name: str) -> datetime | None:
    """A moment that a person wrote, aware; None for an empty one. ``name`` is how messages call it."""
    if not text or not text.strip():
        return None
    allowed = (
        "allowed: a date and time with its zone, such as 2026-03-29T00:00:00+01:00: correct it"
    )
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(f"{name} {text!r} is no moment; {allowed}") from None
    if found.tzinfo is None:
        raise ConfigurationError(f"{name} {text!r} has no time zone; {allowed}")
    return found


def chosen_window(
    sync: Sync,
    lower: datetime | None,
    upper: datetime | None,
    last_end: Callable[[], datetime | None],
) -> tuple[datetime | None, datetime]:
    """The window from ``lower`` up to ``upper``; what is left out follows from the earlier runs and the clock.

    A sync that is read by windows goes on where its latest complete window ends (``last_end``).
    """
    now = datetime.now(UTC)
    end = upper or _as_written(sync, now)
    if end > now:
        raise ConfigurationError(
            f"the window of {sync.name} would end at {end.isoformat()}, which is still to come: what changes until "
            "then would be missed; allowed: now at the latest, which leaving out `to` means"
        )
    if lower is None and any(sync.scope_of(name) == "window" for name in sync.entities):
        lower = last_end()
        if lower is None:
            raise ConfigurationError(
                f"{sync.name} is read by windows and has none that is complete, so this run does not know where to "
                "begin: give `from`, such as 2026-01-01T00:00:00+00:00"
            )
    return lower, end


def _as_written(sync: Sync, now: datetime) -> datetime:
    """The latest moment up to now that every API that is asked for a window can be told."""
    from sinew.api.windows import latest_written

    asked = [resource.incremental for resource in sync.resources.values()]
    windows = [incremental for incremental in asked if isinstance(incremental, Window)]
    # Once for each, as what one format can say may be too fine for one before it.
    for _ in windows:
        for window in windows:
            now = latest_written(now, window)
    return now
