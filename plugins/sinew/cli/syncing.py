"""Commands of syncs: one window without Airflow, how far it is, what is sent again."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

from sinew.cli.given import context_of, entity_of, sync_of
from sinew.cli.tables import table
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.engine.sync_run import run_sync
from sinew.engine.window_choice import chosen_window, moment_of
from sinew.engine.window_status import SyncStatus, WindowStatus, last_window_end, sync_status
from sinew.engine.windows import EntityRows
from sinew.errors import ConfigurationError
from sinew.spec.sync import Sync


def run_window(options: Namespace, context: Context) -> int:
    """Read, check and load one window, telling of each entity as it goes."""
    sync = context.migration
    assert isinstance(sync, Sync)
    if options.phases or options.batch_rows or options.approved_by:
        raise ConfigurationError(
            f"{sync.name} is a sync, which has windows and no phases: leave out --phase, --batch-rows and "
            "--approved-by; --from and --to say which window"
        )
    began, run_id = monotonic(), f"cli {datetime.now(UTC).isoformat(timespec='microseconds')}"
    lower, upper = chosen_window(
        sync,
        moment_of(options.lower, "--from"),
        moment_of(options.upper, "--to"),
        partial(last_window_end, context.home, sync.name),
    )

    def tell(line: str) -> None:
        print(f"{monotonic() - began:7.1f} s  {line}", flush=True)

    tell(f"window {lower.isoformat() if lower else 'from the beginning'} to {upper.isoformat()}")
    done = run_sync(context, lower, upper, run_id, ask=not options.keep_answers, tell=tell)
    for line in _moved(done):
        print(line)
    return 0


def _moved(done: dict[str, EntityRows]) -> Iterator[str]:
    yield ""
    yield from table(_HEAD, [tuple(asdict(rows).values()) for rows in done.values()])


_HEAD = ["entity", "read", "loaded", "rejected", "gone", "newer there", "unchanged"]
_ROWS = ("read", "loaded", "rejected", "deleted", "newer", "unchanged")


def tell_status(sync: Sync, home: Endpoint, *, as_json: bool) -> int:
    """Print windows with their rows, positions and receipts by status."""
    found = sync_status(home, sync.name)
    if as_json:
        print(json.dumps(_plain(sync, found), indent=2, default=str))
    else:
        for line in _told(sync, found):
            print(line)
    return 0


def _plain(sync: Sync, found: SyncStatus) -> dict[str, Any]:
    return {
        "sync": sync.name,
        "scopes": {name: sync.scope_of(name) for name in sync.entities},
        "windows": [_window(window) for window in found.windows],
        "positions": [asdict(position) for position in found.positions],
        "receipts": [asdict(receipts) for receipts in found.receipts],
    }


def _window(window: WindowStatus) -> dict[str, Any]:
    said = asdict(window)
    return {"from": said.pop("lower"), "to": said.pop("upper"), **said}


def _told(sync: Sync, found: SyncStatus) -> Iterator[str]:
    yield f"Sync {sync.name}"
    if not found.windows:
        yield "It was never run here: `sinew run` runs a window of it."
        return
    yield "\nWindows, the newest first"
    yield from table(["from", "to", "state", "run"], [_line(window) for window in found.windows])
    yield "\nRows of the newest window"
    entities = found.windows[0].entities
    yield from table(
        ["entity", "state", *_HEAD[1:]],
        [(e["entity"], e["state"], *(e[name] for name in _ROWS)) for e in entities],
    )
    if found.positions:
        yield "\nRead so far"
        rows = [(p.name, _moment(p.moment), "yes" if p.bookmark else "-") for p in found.positions]
        yield from table(["what", "up to", "bookmark"], rows)
    if found.receipts:
        yield "\nThe API's newest word on each row"
        yield from table(
            ["entity", "receipt", "rows"], [(r.entity, r.status, r.rows) for r in found.receipts]
        )


def _line(window: WindowStatus) -> tuple[object, ...]:
    return _moment(window.lower), _moment(window.upper), window.state, window.run_id


def _moment(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds") if moment else "-"


def redeliver(options: Namespace) -> int:
    """Mark refused rows, so that a run sends them again; prints how many, and which run."""
    sync = sync_of(options)
    if not sync.delivers:
        raise ConfigurationError(
            f"{sync.name} fills a database, which refuses no row by itself: mend what its rejects say and run "
            "the window again; `redeliver` is for syncs whose target is an API"
        )
    entity = entity_of(sync, options.entity) if options.entity else None
    from sinew.engine.deliver import redeliver as mark
    from sinew.engine.deliver import waiting_windows

    context = context_of(options)
    count = mark(context, entity)
    print(f"{count:,} rows that were refused wait to be sent again")
    windows = waiting_windows(context, entity)
    for lower, upper in windows:
        first = f" --from {lower.isoformat()}" if lower else ""
        print(f"Send those of a window: sinew run {sync.name}{first} --to {upper.isoformat()}")
    if count and not windows:
        print(f"The next run sends them: sinew run {sync.name}")
    return 0
