"""Windows of a sync: what one run reads, its batches, and what it leaves for the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from sinew.compile import record_sql
from sinew.engine import ledger
from sinew.engine.session import connect, drop_tables, translated
from sinew.engine.settle import settle
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError, MismatchError
from sinew.paths import statement
from sinew.spec.sync import SYNC_PHASE, Sync


@dataclass(frozen=True)
class EntityRows:
    """What one run did to an entity, in rows; ``deleted`` counts marked rows as well."""

    entity: str
    read: int
    loaded: int
    rejected: int
    deleted: int
    newer: int
    unchanged: int


def plan_window(
    context: Context, lower: datetime | None, upper: datetime, run_id: str, *, ask: bool = True
) -> dict[str, int]:
    """Make the batches of one run, by entity; those of the same run are taken up where they are.

    ``lower`` is inclusive, ``upper`` exclusive, both aware; without ``lower`` a run reads what is new, or
    everything. Without ``ask``, records that another run fetched for this window are taken instead
    of asking the API again.
    """
    sync = _sync(context)
    with (
        connect(context.home, step="plan") as home,
        translated(f"plan {sync.name} {_told(lower, upper)}"),
    ):
        ledger.require_active(home, sync)
        _require_bounds(sync, lower, upper)
        with home.transaction():
            ledger.lock_mapping(home, sync.name)
            window = _window(home, sync, lower, upper, run_id)
            if not ask:
                _adopt_fetches(home, sync, window)
            found = {
                name: _batch(home, sync, name, window, lower, upper) for name in sync.entity_order
            }
        _drop_old_records(home, sync)
    return found


def _sync(context: Context) -> Sync:
    assert isinstance(context.migration, Sync)
    return context.migration


def _told(lower: datetime | None, upper: datetime) -> str:
    return f"{lower.isoformat() if lower else 'the beginning'} to {upper.isoformat()}"


def _require_bounds(sync: Sync, lower: datetime | None, upper: datetime) -> None:
    for name, moment in (("from", lower), ("to", upper)):
        if moment is not None and moment.tzinfo is None:
            raise ConfigurationError(
                f"{name} is {moment.isoformat()}, without a time zone; write it with one, such as "
                "2026-03-29T00:00:00+01:00"
            )
    if lower is not None and lower >= upper:
        raise ConfigurationError(
            f"the window from {lower.isoformat()} to {upper.isoformat()} holds no time: its end "
            "comes after its beginning"
        )
    windowed = [name for name in sync.entities if sync.scope_of(name) == "window"]
    if windowed and lower is None:
        raise ConfigurationError(
            f"{', '.join(windowed)} of {sync.name} is read by windows, but this run has none: give its "
            "beginning and end (from and to), or let it run by its schedule"
        )


def _window(
    home: psycopg.Connection, sync: Sync, lower: datetime | None, upper: datetime, run_id: str
) -> int:
    parameters = {"mapping": sync.name, "lower": lower, "upper": upper, "run_id": run_id}
    row = home.execute(statement("sync/open_window"), parameters).fetchone()
    assert row is not None
    home.execute(statement("sync/supersede_windows"), parameters | {"id": row[0]})
    return int(row[0])


def _batch(
    home: psycopg.Connection,
    sync: Sync,
    entity: str,
    window: int,
    lower: datetime | None,
    upper: datetime,
) -> int:
    scope = sync.scope_of(entity)
    from_, to = lower, upper
    if scope == "since":
        from_ = _position(home, sync, entity)
    row = home.execute(
        statement("sync/make_batch"),
        {
            "mapping": sync.name,
            "fingerprint": sync.fingerprint(),
            "entity": entity,
            "entity_fingerprint": ledger.planned(home, sync, entity).fingerprint,
            "phase": SYNC_PHASE,
            "kind": "whole" if scope == "full" else "window",
            "lower": _bound(None if scope == "full" else from_),
            "upper": _bound(None if scope == "full" else to),
            "window": window,
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


def _bound(moment: datetime | None) -> str | None:
    return None if moment is None else json.dumps([moment.astimezone(UTC).isoformat()])


def _position(home: psycopg.Connection, sync: Sync, entity: str) -> datetime | None:
    row = home.execute(
        "SELECT moment FROM sinew.position WHERE mapping = %s AND name = %s",
        (sync.name, _position_name(sync, entity)),
    ).fetchone()
    return row[0] if row else None


def _position_name(sync: Sync, entity: str) -> str:
    """Under which name the ledger keeps how far an entity was read: its resource's, or its own."""
    resource = sync.entities[entity].source.resource
    return sync.resource_chain(resource)[0] if resource else entity


def _adopt_fetches(home: psycopg.Connection, sync: Sync, window: int) -> None:
    """Take over what the last run of the same window fetched by the same questions."""
    fingerprints = {name: sync.resource_fingerprint(name) for name in sync.resources}
    home.execute(
        statement("sync/adopt_fetches"),
        {
            "window": window,
            "resources": list(fingerprints),
            "fingerprints": list(fingerprints.values()),
        },
    )


def _drop_old_records(home: psycopg.Connection, sync: Sync) -> None:
    old = home.execute(
        statement("sync/old_fetches"),
        {"mapping": sync.name, "age": timedelta(days=sync.keep_raw_days)},
    ).fetchall()
    for (id_,) in old:
        with home.transaction():
            drop_tables(home, record_sql.raw_table(id_))
            home.execute("UPDATE sinew.fetch SET state = 'dropped' WHERE id = %s", (id_,))


# --- the end of a run


def complete_window(context: Context, run_id: str) -> dict[str, EntityRows]:
    """Close a run whose batches are all validated, and write down how far it has read.

    Raises MismatchError while any batch is not. Closing it once more changes nothing.
    """
    sync = _sync(context)
    settle(context, SYNC_PHASE)
    with connect(context.home, step="complete") as home, translated(f"complete {sync.name}"):
        with home.transaction():
            ledger.lock_mapping(home, sync.name)
            window = _open_window(home, sync, run_id)
            _require_validated(home, sync, window)
            for name in sorted({*_positions(sync)}):
                _set_position(home, sync, name, window)
            home.execute(
                "UPDATE sinew.\"window\" SET state = 'complete', completed_at = coalesce(completed_at, now()) "
                "WHERE id = %s AND state <> 'superseded'",
                (window,),
            )
        rows = home.execute(statement("sync/window_rows"), {"window": window}).fetchall()
    return {row[0]: EntityRows(*row) for row in rows}


def _open_window(home: psycopg.Connection, sync: Sync, run_id: str) -> int:
    row = home.execute(
        'SELECT id FROM sinew."window" WHERE mapping = %s AND run_id = %s ORDER BY id DESC LIMIT 1',
        (sync.name, run_id),
    ).fetchone()
    if row is None:
        raise MismatchError(f"run {run_id} of {sync.name} was never planned: clear its task `plan`")
    return int(row[0])


def _require_validated(home: psycopg.Connection, sync: Sync, window: int) -> None:
    rows = home.execute(
        "SELECT entity, state FROM sinew.batch WHERE window_id = %s AND state <> 'validated' ORDER BY 1",
        (window,),
    ).fetchall()
    if rows:
        told = ", ".join(f"{entity} is {state}" for entity, state in rows)
        raise MismatchError(
            f"{sync.name}: {told}, not validated: mend what the failed tasks say, then clear them with all "
            "that follows"
        )


def _positions(sync: Sync) -> Iterator[str]:
    return (_position_name(sync, name) for name in sync.entities if sync.scope_of(name) == "since")


def _set_position(home: psycopg.Connection, sync: Sync, name: str, window: int) -> None:
    home.execute(
        statement("sync/set_position"),
        {"mapping": sync.name, "name": name, "window": window, "entities": _tellers(sync, name)},
    )


def _tellers(sync: Sync, position: str) -> list[str]:
    """Entities whose rows tell how far a resource, or an entity of a database, was read.

    Those of the resource's own records. Elements within a record, and records that are asked for by another, may
    have moments of their own, of which nothing follows for the records; elements tell where nothing else does.
    """
    if position not in sync.resources:
        return [position]
    read = {n: e for n, e in sync.entities.items() if e.source.resource == position and e.watermark}
    return [n for n, e in read.items() if e.source.records is None] or list(read)
