"""Load: staging into the target and the row ledger, in one transaction with the promotion that allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from time import monotonic

import psycopg
from psycopg import sql

from sinew.compile import earlier_sql, load_sql, window_sql
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.transform_sql import staging_hash
from sinew.engine.batch import ENTITY_LOCK, Batch, advance
from sinew.engine.reading_order import refuse_overtaken
from sinew.engine.session import translated
from sinew.engine.vanished import clear_vanished, take_out
from sinew.errors import ConstraintError, GateFailedError, InputLostError


@dataclass(frozen=True)
class Loaded:
    """Rows inserted or updated, rows of the target that were kept, rows that vanished and were deleted or marked.

    Of a sync also: rows that the target has in a newer version, or has as they are, and the moment of the newest.
    """

    loaded: int
    kept: int = 0
    deleted: int = 0
    newer: int = 0
    unchanged: int = 0
    latest: datetime | None = None


def load(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Promote a batch whose gate passed; nothing of it is visible before everything of it is."""
    began = monotonic()
    with translated(f"load {batch.title}"), home.transaction():
        lock_entities(home, plan)
        refuse_overtaken(home, plan, batch)
        hash_ = prove_staging(home, plan, batch)
        promote(home, batch, hash_)
        done = _write(home, plan, batch)
        advance(
            home,
            batch,
            "loaded",
            "load",
            monotonic() - began,
            loaded_rows=done.loaded,
            kept_rows=done.kept,
            deleted_rows=done.deleted,
            newer_rows=done.newer,
            unchanged_rows=done.unchanged,
            latest_moment=done.latest,
        )


def lock_entities(home: psycopg.Connection, plan: EntityPlan) -> None:
    """Share the entity with other history batches; a writer of changes takes it exclusively.

    Windows of a sync are such writers: which of two versions is newer must not change under them.
    Taken before the first statement that reads, in entity order, so that two loads never wait for each other.
    """
    shared = not plan.windowed
    home.execute(
        "SELECT pg_advisory_xact_lock_shared(%(lock)s, hashtext(%(name)s))"
        if shared
        else "SELECT pg_advisory_xact_lock(%(lock)s, hashtext(%(name)s))",
        {"lock": ENTITY_LOCK, "name": plan.ledger_name},
    )


def prove_staging(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> Decimal:
    """Staging holds what the gate saw: computed anew from the values, not read from a column."""
    rows, hash_ = home.execute(staging_hash(plan, batch.id)).fetchone() or (0, 0)
    if rows != batch.staged_rows or hash_ != batch.staging_hash:
        raise InputLostError(
            f"load {batch.title}: staging holds {rows} rows where the gate saw {batch.staged_rows}, or their "
            "hash differs; the batch is read again"
        )
    return Decimal(hash_)


def promote(home: psycopg.Connection, batch: Batch, hash_: Decimal) -> None:
    """Record the promotion; the ledger's constraints refuse it without a passed gate of this very data."""
    home.execute("DELETE FROM sinew.promotion WHERE batch_id = %s", (batch.id,))
    try:
        home.execute(
            "INSERT INTO sinew.promotion (batch_id, attempt, staging_hash, passed) VALUES (%s, %s, %s, true)",
            (batch.id, batch.gate_attempt, hash_),
        )
    except psycopg.errors.IntegrityError:
        raise GateFailedError(
            f"load {batch.title}: no passed gate for this data; run its check first"
        ) from None


def _write(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> Loaded:
    if not plan.windowed:
        return _write_rows(home, plan, batch)
    row = home.execute(window_sql.latest_moment(batch.id)).fetchone()
    # Before older versions leave staging: a row that came, if only in an older version, is not gone.
    deleted = clear_vanished(home, plan, batch)
    newer = 0
    if batch.kind == "window":
        newer = home.execute(window_sql.newer_entries(plan, batch.id)).rowcount
    unchanged = home.execute(window_sql.settle_unchanged(plan, batch.id)).rowcount
    written = _write_rows(home, plan, batch)
    return replace(
        written,
        deleted=deleted,
        newer=newer,
        unchanged=unchanged,
        latest=row[0] if row else None,
    )


def _write_rows(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> Loaded:
    empty = home.execute(load_sql.range_has_entries(plan, batch.range)).fetchone() == (False,)
    existing = plan.migration.existing_of(plan.entity.name)
    if plan.keyless and not plan.target_key:
        return _replace_plain(home, plan, batch)
    if existing == "keep":
        return _write_keeping(home, plan, batch, empty)
    if empty and (existing == "fail" or plan.shadow):
        return _write_fresh(home, plan, batch)
    return _write_over(home, plan, batch, empty, existing)


def _write_fresh(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> Loaded:
    """The range is empty: plain inserts, the fastest way in."""
    loaded = _run(home, [load_sql.insert_target(plan, batch.id)])
    _run(home, [load_sql.insert_ledger(plan, batch.id), *_rejected(plan, batch)])
    return Loaded(loaded)


def _write_over(
    home: psycopg.Connection, plan: EntityPlan, batch: Batch, empty: bool, existing: str
) -> Loaded:
    deleted = 0 if empty else _clear_earlier(home, plan, batch)
    if existing == "fail":
        _refuse_foreign(home, plan, batch)
    loaded = _run(home, [load_sql.upsert_target(plan, batch.id)])
    _run(home, [load_sql.upsert_ledger(plan, batch.id), *_rejected(plan, batch)])
    return Loaded(loaded, deleted=deleted)


def _write_keeping(home: psycopg.Connection, plan: EntityPlan, batch: Batch, empty: bool) -> Loaded:
    """Rows that the target has already stay as they are and are told as kept."""
    deleted = 0 if empty else _clear_earlier(home, plan, batch)
    home.execute(load_sql.create_new_keys(plan))
    loaded = _run(home, [load_sql.insert_target_keeping(plan, batch.id, fresh=empty)])
    entries = _run(home, [load_sql.upsert_ledger(plan, batch.id, keeping=True)])
    _run(home, _rejected(plan, batch))
    return Loaded(loaded, kept=entries - loaded, deleted=deleted)


def _replace_plain(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> Loaded:
    """A row without a key cannot be found again: all that earlier loads brought is replaced."""
    _run(home, [earlier_sql.delete_plain_rows(plan), earlier_sql.delete_ledger(plan)])
    return _write_fresh(home, plan, batch)


def _clear_earlier(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> int:
    """Take out what an earlier load of this range brought and the source no longer has."""
    deleted = 0 if plan.windowed else take_out(home, plan, batch)
    _run(home, [earlier_sql.delete_moved(plan, batch.id, batch.range)])
    return deleted


def _refuse_foreign(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    count = home.execute(load_sql.foreign_target_rows(plan, batch.id)).fetchone()
    if count and count[0]:
        raise ConstraintError(
            f"load {batch.title}: {count[0]} rows of the target have keys of this batch but did not come through "
            "this migration; say `existing: update` or `existing: keep`, or remove them"
        )


def _rejected(plan: EntityPlan, batch: Batch) -> list[sql.Composed]:
    return [load_sql.upsert_rejected(plan, batch.id)] if batch.rejected_rows else []


def _run(home: psycopg.Connection, statements: Sequence[sql.Composed]) -> int:
    """Run statements in order; returns the rows of the last one."""
    rows = 0
    for statement in statements:
        rows = home.execute(statement).rowcount
    return rows
