"""Read back: the validate of a delivery. Receipts account for each change, and the API has what it acknowledged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
import psycopg

from sinew.api.documents import compact
from sinew.api.outgoing import OutRow
from sinew.api.read_back import Comparison, read_back
from sinew.compile import deliver_sql, receipt_sql
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.table_sql import landing_table, python_table, staging_table
from sinew.engine.batch import Batch, advance, hold_still, set_state
from sinew.engine.changes import HASHED_HERE, Change, delivery_of, read_changes
from sinew.engine.deliver import entity_held, shown_keys
from sinew.engine.session import drop_tables, translated
from sinew.errors import GateFailedError, MismatchError

if TYPE_CHECKING:
    from sinew.engine.steps import Context

# Differing rows that are forgotten in one transaction.
_AT_ONCE = 500


def validate_delivery(
    context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> None:
    """Account for every staged row, and look the sent ones up where the mapping says how.

    Raises MismatchError: rows that differ are forgotten, so that they are sent again when the batch, or the next
    run that reads them, is loaded. Raises GateFailedError when the API refused more than the mapping allows.
    """
    began = monotonic()
    with translated(f"validate {batch.title}"), entity_held(home, plan):
        with home.transaction():
            home.execute(HASHED_HERE)
            problem = _unaccounted(home, plan, batch)
        if not problem and delivery_of(plan).read_back is not None:
            problem = _differing(context, home, plan, batch)
        refused = "" if problem else _too_many_refused(home, plan, batch)
        with home.transaction():
            if problem or refused:
                set_state(home, batch, "mismatched")
            else:
                _close(home, plan, batch, monotonic() - began)
    if problem:
        raise MismatchError(f"validate {batch.title}: {problem}")
    if refused:
        raise GateFailedError(f"validate {batch.title}: {refused}")


def _close(home: psycopg.Connection, plan: EntityPlan, batch: Batch, seconds: float) -> None:
    home.execute(HASHED_HERE)
    there = home.execute(receipt_sql.acknowledged(plan, batch.id, batch.range)).fetchone() or (0,)
    drop_tables(home, landing_table(batch.id), staging_table(batch.id), python_table(batch.id))
    advance(home, batch, "validated", "validate", seconds, target_hash=there[0])


def _unaccounted(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> str:
    """Why the receipts do not bear out what was counted; '' when they do."""
    live, deleted, wrong = home.execute(
        receipt_sql.receipt_evidence(plan, batch.id)
    ).fetchone() or (0, 0, 0)
    loaded, unchanged, newer, removed = home.execute(
        "SELECT loaded_rows, unchanged_rows, newer_rows, deleted_rows FROM sinew.batch WHERE id = %s",
        (batch.id,),
    ).fetchone() or (0, 0, 0, 0)
    kept_out = home.execute(receipt_sql.count_kept_out(plan, batch.id)).fetchone() or (0,)
    if wrong:
        return (
            f"{wrong} of {live + deleted} rows have no receipt that says what the row ledger says"
        )
    if loaded + unchanged + newer + kept_out[0] != batch.staged_rows:
        return (
            f"{batch.staged_rows} rows were staged, but {loaded} were acknowledged, {unchanged} unchanged, {newer} "
            f"newer at the API and {kept_out[0]} refused; run it again"
        )
    if live < loaded or deleted != removed:
        return f"{loaded} rows were acknowledged and {removed} deletions, but the row ledger has {live} and {deleted}"
    return ""


def _too_many_refused(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> str:
    """The mapping's limit of rejects holds for what the API refused as well, once all others are there."""
    limit = plan.migration.max_rejects_of(plan.entity.name)
    row = home.execute(
        "SELECT rejected_rows FROM sinew.batch WHERE id = %s", (batch.id,)
    ).fetchone()
    rejected = row[0] if row else 0
    allowed = limit * (batch.source_rows or 0) if isinstance(limit, float) else limit
    if rejected <= allowed:
        return ""
    return (
        f"{rejected} rows are rejects, the API's refusals among them; allowed: {allowed:g} (max_rejects). All others "
        "are there. Mend the rows in the source, or raise max_rejects, and run it again; what was refused is only sent "
        "again when it changes, or by `sinew redeliver`"
    )


# --- what the API has


def _differing(context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> str:
    assert context.open_api is not None
    queries = [
        deliver_sql.select_delivered(plan, batch.id),
        deliver_sql.select_deleted(plan, batch.id),
    ]
    seen, keys, columns, missing = 0, [], set(), 0
    with context.open_api() as session:
        for query in queries:
            with closing(read_changes(context.home, query)) as changes:
                asked, rows = itertools.tee(changes)
                looked = read_back(session, delivery_of(plan), _rows(plan, rows))
                wrong = []
                for change, found in zip(asked, looked, strict=True):
                    seen += 1
                    if not found.agrees:
                        wrong.append((change, found))
                        keys.append(change.key)
                        columns |= set(found.differing)
                        missing += found.expected and not found.found
                    if len(wrong) == _AT_ONCE:
                        _forget(home, plan, batch, wrong)
                        wrong = []
                _forget(home, plan, batch, wrong)
    if not keys:
        return ""
    told = f"; {missing} are not there" if missing else ""
    told += f"; columns: {', '.join(sorted(columns))}" if columns else ""
    return (
        f"the API acknowledged {seen} changes, but {len(keys)} of them are not as they were sent{told}: "
        f"{shown_keys(plan, keys)}. They are sent again when the task is cleared; if that does not help, the API "
        "stores these columns otherwise: mend the mapping, or leave them out of `read_back.compare`"
    )


def _rows(plan: EntityPlan, changes: Iterator[Change]) -> Iterator[OutRow]:
    return (change.out(plan) for change in changes)


def _forget(
    home: psycopg.Connection,
    plan: EntityPlan,
    batch: Batch,
    wrong: list[tuple[Change, Comparison]],
) -> None:
    if not wrong:
        return
    told = [
        {
            "entry": msgspec.Raw(change.entry.encode()),
            "version": change.version,
            "found": found.found,
            "deletion": change.kind == "delete",
        }
        for change, found in wrong
    ]
    with home.transaction():
        hold_still(home, batch)
        home.execute(
            receipt_sql.forget_delivered(plan),
            {"changes": compact(told).decode()},
        )
