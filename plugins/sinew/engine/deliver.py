"""Deliver: the load of a sync whose target is an API. What it lacks of staging is sent, and acknowledged row by row.

The promotion commits before the first request; after that each receipt commits together with the row ledger. So a
task that is killed goes on with the row after its last receipt, and what was under way then is never sent in the
dark. Between entities, parents come first, as in every load; each entity deletes what is gone before it sends what
is new, and children are not deleted before their parents: an API that needs that refuses the deletion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg import sql

from sinew.compile import deliver_sql, load_sql, receipt_sql, window_sql
from sinew.compile.entity_plan import EntityPlan
from sinew.engine import ledger
from sinew.engine.batch import ENTITY_LOCK, Batch, advance, hold_still
from sinew.engine.changes import HASHED_HERE, Change, delivery_of, read_changes
from sinew.engine.courier import Courier
from sinew.engine.doubts import settle_doubts
from sinew.engine.load import promote, prove_staging
from sinew.engine.reading_order import refuse_overtaken
from sinew.engine.session import Endpoint, connect, translated
from sinew.engine.vanished import refuse_too_many
from sinew.errors import ConfigurationError, OutcomeUnknownError
from sinew.paths import statement
from sinew.spec.delivery import CHANGES
from sinew.spec.sync import Sync, SyncEntity

if TYPE_CHECKING:
    from sinew.engine.steps import Context

# Keys that a message shows.
_SHOWN = 5
# Rows whose outcome got lost are looked at so often before a person has to.
_LOOKS = 2


def load_delivery(
    context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> None:
    """Send what the gate let through and the API does not have; nothing is sent without a promotion.

    Raises OutcomeUnknownError when rows may have arrived and there is no way to find out.
    """
    began = monotonic()
    with translated(f"load {batch.title}"), entity_held(home, plan):
        refuse_overtaken(home, plan, batch)
        _promote(home, plan, batch)
        if _anything(home, plan, batch):
            _send(context, home, plan, batch)
        with home.transaction():
            home.execute(HASHED_HERE)
            done = _counts(home, plan, batch)
            advance(home, batch, "loaded", "load", monotonic() - began, **done)


@contextmanager
def entity_held(home: psycopg.Connection, plan: EntityPlan) -> Iterator[None]:
    """One batch of an entity sends or reads back at a time: which of two versions is newer must not change."""
    key = {"lock": ENTITY_LOCK, "name": plan.ledger_name}
    home.execute("SELECT pg_advisory_lock(%(lock)s, hashtext(%(name)s))", key)
    try:
        yield
    finally:
        if not home.closed and not home.broken:
            home.execute("SELECT pg_advisory_unlock(%(lock)s, hashtext(%(name)s))", key)


def deletes(plan: EntityPlan) -> bool:
    """Whether rows that are gone from the source are deleted at the API."""
    assert isinstance(plan.entity, SyncEntity)
    return plan.entity.vanished == "delete" and delivery_of(plan).delete is not None


def _kinds(plan: EntityPlan) -> list[str]:
    """Kinds of change of staged rows that the mapping says how to send."""
    return [kind for kind in CHANGES if kind != "delete" and delivery_of(plan).change(kind)]


# --- before the first request


def _promote(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Prove that staging is what the gate saw, and settle all that needs no request; commits."""
    with home.transaction():
        promote(home, batch, prove_staging(home, plan, batch))
        hold_still(home, batch)
        home.execute(HASHED_HERE)
        home.execute(deliver_sql.forget_told(batch.id))
        if batch.rejected_rows:
            home.execute(load_sql.upsert_rejected(plan, batch.id))
        where = (plan, batch.id, batch.range)
        home.execute(deliver_sql.settle_unchanged(*where))
        home.execute(deliver_sql.settle_refused(*where))
        if deletes(plan):
            _guard(home, plan, batch)
            home.execute(deliver_sql.tell_refused_deletions(*where))
        home.execute(deliver_sql.tell_refused(*where))
        missing = {"create", "update"} - {*_kinds(plan)}
        if missing:
            home.execute(deliver_sql.tell_undeliverable(*where, missing))


def _guard(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    assert isinstance(plan.entity, SyncEntity)
    counted = home.execute(deliver_sql.count_gone(plan, batch.id, batch.range)).fetchone()
    gone, all_ = counted or (0, 0)
    if gone:
        refuse_too_many(plan.entity, batch, gone, all_)


# --- sending


def _changes(plan: EntityPlan, batch: Batch) -> sql.Composed:
    return deliver_sql.select_changes(plan, batch.id, batch.range, _kinds(plan))


def _deletions(plan: EntityPlan, batch: Batch) -> list[sql.Composed]:
    where = (plan, batch.id, batch.range)
    found = [deliver_sql.select_deletions(*where)] if deletes(plan) else []
    # Before the row is created anew under its other key.
    return found + ([deliver_sql.select_moved(*where)] if delivery_of(plan).delete else [])


def _doubtful(plan: EntityPlan, batch: Batch) -> list[sql.Composed]:
    where = (plan, batch.id, batch.range)
    gone = [deliver_sql.select_deletions(*where, doubtful=True)] if deletes(plan) else []
    return [*gone, deliver_sql.select_changes(*where, _kinds(plan), doubtful=True)]


def _doubts(home: Endpoint, plan: EntityPlan, batch: Batch) -> list[Change]:
    """Changes that may have arrived already: no more than were noted by a task that died, and by this one."""
    found = (read_changes(home, query) for query in _doubtful(plan, batch))
    return list(chain.from_iterable(found))


def _anything(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> bool:
    """Whether there is any reason to call at the API."""
    queries = [*_doubtful(plan, batch), *_deletions(plan, batch), _changes(plan, batch)]
    asked = sql.SQL("SELECT {}").format(
        sql.SQL(" OR ").join(sql.SQL("EXISTS ({})").format(query) for query in queries)
    )
    with home.transaction():
        home.execute(HASHED_HERE)
        return home.execute(asked).fetchone() == (True,)


def _send(context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    assert context.open_api is not None
    with context.open_api() as session:
        courier = Courier(home, session, plan, batch)
        _settle(courier, context.home)
        for query in [*_deletions(plan, batch), _changes(plan, batch)]:
            with closing(read_changes(context.home, query)) as changes:
                courier.send(changes)
        for _ in range(_LOOKS):
            if not _doubts(context.home, plan, batch):
                return
            _settle(courier, context.home)
    left = _doubts(context.home, plan, batch)
    if left:
        raise OutcomeUnknownError(_lost(plan, batch, left))


def _settle(courier: Courier, home: Endpoint) -> None:
    doubts = _doubts(home, courier.plan, courier.batch)
    if not doubts:
        return
    found = settle_doubts(courier.session, courier.plan, doubts)
    courier.keep(found.there)
    courier.send(found.send)


def _lost(plan: EntityPlan, batch: Batch, left: Sequence[Change]) -> str:
    how = "give the delivery an `idempotency_header`, or a `read_back`, and start a new run"
    if delivery_of(plan).read_back is not None:
        how = "look at the API, and clear the task"
    return (
        f"load {batch.title}: {len(left)} rows may have reached the API, but its answers got lost, and they are not "
        f"sent again in the dark: {shown_keys(plan, [change.key for change in left])}; {how}. All others were sent"
    )


def shown_keys(plan: EntityPlan, keys: Sequence[str]) -> str:
    """Source keys for a message; masked where a personal column is made from the key."""
    personal = [plan.entity.columns[name] for name in plan.entity.pii]
    if any(set(column.reads) & set(plan.entity.source_key) for column in personal):
        return f"{len(keys)} keys, masked"
    shown = ", ".join(keys[:_SHOWN])
    return f"{shown} and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else shown


# --- what it came to


def _counts(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> dict[str, Any]:
    fates = {
        fate: (rows, own)
        for fate, rows, own in home.execute(
            receipt_sql.count_fates(plan, batch.id, batch.range)
        ).fetchall()
    }
    there, own = fates.get("unchanged", (0, 0))
    _live, deleted, _wrong = home.execute(
        receipt_sql.receipt_evidence(plan, batch.id)
    ).fetchone() or (0, 0, 0)
    rejected = home.execute(
        "SELECT count(*) FROM sinew.reject WHERE batch_id = %s AND scope = 'row'", (batch.id,)
    ).fetchone() or (0,)
    latest = home.execute(window_sql.latest_moment(batch.id)).fetchone()
    return {
        "loaded_rows": own,
        "unchanged_rows": there - own,
        "newer_rows": fates.get("newer", (0, 0))[0],
        "deleted_rows": deleted,
        "rejected_rows": rejected[0],
        "latest_moment": latest[0] if latest else None,
    }


# --- again


def redeliver(
    context: Context,
    entity: str | None = None,
    keys: Sequence[Mapping[str, Any]] | None = None,
) -> int:
    """Let rows that the API refused be sent again, though they did not change; returns their number.

    ``keys`` are source keys by column, such as ``{"id": 7}``. The next run that reads a row sends it: any run
    where everything is read, the next one where a sync reads since its last (its position is set back for that),
    and where it reads windows, a run over one of ``waiting_windows``.
    """
    sync = context.migration
    assert isinstance(sync, Sync)
    if not sync.delivers:
        raise ConfigurationError(
            f"the target of {sync.name} is a database, where nothing is sent to; allowed: a sync to an API"
        )
    texts = None if keys is None else [_as_key(key) for key in keys]
    marked = 0
    with connect(context.home, step="redeliver") as home, translated(f"redeliver {sync.name}"):
        ledger.require_active(home, sync)
        for name in _entities(sync, entity):
            with home.transaction():
                plan = ledger.planned(home, sync, name).plan
                row = home.execute(receipt_sql.send_again(plan, texts)).fetchone()
                count, oldest = row or (0, None)
                if count and sync.scope_of(name) == "since":
                    _step_back(home, sync, name, oldest)
                marked += int(count)
    return marked


def waiting_windows(
    context: Context, entity: str | None = None
) -> list[tuple[datetime | None, datetime]]:
    """Windows, each with its beginning and end, whose rows wait to be sent again; running them does so."""
    sync = context.migration
    assert isinstance(sync, Sync)
    found: set[tuple[datetime | None, datetime]] = set()
    with connect(context.home, step="redeliver") as home, translated(f"redeliver {sync.name}"):
        for name in _entities(sync, entity):
            plan = ledger.planned(home, sync, name).plan
            if sync.scope_of(name) == "window":
                found |= set(home.execute(receipt_sql.waiting_windows(plan)).fetchall())
    return sorted(found, key=lambda bounds: bounds[1])


def _entities(sync: Sync, entity: str | None) -> Sequence[str]:
    if entity is not None and entity not in sync.entities:
        raise ConfigurationError(
            f"{sync.name} has no entity {entity!r}; allowed: {', '.join(sync.entities)}"
        )
    return sync.entity_order if entity is None else (entity,)


def _as_key(key: Mapping[str, Any]) -> str:
    return msgspec.json.encode({name: str(value) for name, value in key.items()}).decode()


def _step_back(home: psycopg.Connection, sync: Sync, entity: str, oldest: datetime | None) -> None:
    home.execute(
        statement("deliver/step_back"), {"mapping": sync.name, "name": entity, "moment": oldest}
    )
