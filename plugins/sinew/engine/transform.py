"""Transform: landing to staging and rejects, so that rows in equal rows staged plus rejects, exactly."""

from __future__ import annotations

from time import monotonic

import psycopg

from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import range_has_entries
from sinew.compile.table_sql import create_python, create_staging, python_table, staging_table
from sinew.compile.transform_sql import (
    Circumstances,
    count_elsewhere,
    insert_failed,
    insert_nulled,
    insert_rejects,
    reject_totals,
    staging_totals,
)
from sinew.engine.batch import Batch, advance, make_anew
from sinew.engine.bisecting import insert_bisecting
from sinew.engine.python_values import make_python_values
from sinew.engine.session import translated
from sinew.errors import InputLostError, StatementError


def transform(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Fill staging anew from landing; every row that cannot be mapped is told of in sinew.reject."""
    began = monotonic()
    creating = [create_staging(plan, batch.id)]
    if plan.python_columns:
        creating.append(create_python(plan, batch.id))
    with translated(f"transform {batch.title}"):
        make_anew(home, batch, [staging_table(batch.id), python_table(batch.id)], creating)
        _fill(home, plan, batch, began)


def _fill(home: psycopg.Connection, plan: EntityPlan, batch: Batch, began: float) -> None:
    with home.transaction():
        home.execute("DELETE FROM sinew.reject WHERE batch_id = %s", (batch.id,))
        home.execute(
            "CREATE TEMPORARY TABLE sinew_bad (sinew_row tid, column_name text, reason text) ON COMMIT DROP"
        )
        # Each guard makes the planner expect fewer rows, until it loops over a ledger instead of hashing it.
        home.execute("SET LOCAL enable_nestloop = off")
        now = circumstances(home, plan, batch)
        if plan.python_columns:
            make_python_values(home, plan, batch)
        insert_bisecting(home, plan, now, batch)
        staging = home.execute(staging_totals(plan, batch.id)).fetchone() or (0, 0, 0)
        _tell_rejects(home, plan, now, batch, staging[0])
        rejected, elsewhere = _account(home, plan, now, batch, staging)
        advance(
            home,
            batch,
            "transformed",
            "transform",
            monotonic() - began,
            staged_rows=staging[0],
            rejected_rows=rejected,
            elsewhere_rows=elsewhere,
            staging_hash=staging[2],
        )


def circumstances(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> Circumstances:
    """What the statements must know beyond the plan, asked in the running transaction."""
    own = home.execute(range_has_entries(plan, batch.range)).fetchone() == (True,)
    duplicates = home.execute(
        "SELECT EXISTS (SELECT FROM sinew.duplicate WHERE mapping = %s AND entity = %s)",
        (batch.mapping, batch.entity),
    ).fetchone() == (True,)
    window_from = batch.lower[0] if batch.kind == "window" and batch.lower else None
    return Circumstances(
        batch.id, batch.phase, own_ledger=own, window_from=window_from, duplicates=duplicates
    )


def _tell_rejects(
    home: psycopg.Connection, plan: EntityPlan, now: Circumstances, batch: Batch, staged: int
) -> None:
    if staged != batch.source_rows:
        home.execute(insert_failed(plan, now))
        home.execute(insert_rejects(plan, now))
        _refuse_fatal(home, plan, batch)
    for told in insert_nulled(plan, now):
        home.execute(told)


def _refuse_fatal(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """A column declared ``on_error: fail`` fails the batch instead of rejecting the row."""
    fatal = [name for name, column in plan.entity.columns.items() if column.on_error == "fail"]
    found = home.execute(
        "SELECT column_name, rule, count(*) FROM sinew.reject WHERE batch_id = %s AND column_name = ANY(%s) "
        "GROUP BY 1, 2 ORDER BY 1, 2",
        (batch.id, fatal),
    ).fetchall()
    if found:
        told = "; ".join(f"{name}: {rows} rows break {rule}" for name, rule, rows in found)
        raise StatementError(
            f"transform {batch.title}: {told}. The mapping says on_error: fail; mend the data, or say reject or null"
        )


def _account(
    home: psycopg.Connection,
    plan: EntityPlan,
    now: Circumstances,
    batch: Batch,
    staging: tuple[int, int, int],
) -> tuple[int, int]:
    """Prove that landing's rows, by count and hash, are staged, rejected or elsewhere, each exactly once.

    ``staging``: its rows, the sum of their source hashes and of their target hashes. Returns rows rejected and
    rows elsewhere. This is also the proof that landing still is what the extract left: an UNLOGGED table is
    emptied by a crash.
    """
    staged, staged_source, _hash = staging
    rejected, rejected_source = home.execute(reject_totals(batch.id)).fetchone() or (0, 0)
    elsewhere, elsewhere_source = 0, 0
    if now.own_ledger and not plan.keyless:
        elsewhere, elsewhere_source = home.execute(count_elsewhere(plan, now)).fetchone() or (0, 0)
    rows = staged + rejected + elsewhere
    total = staged_source + rejected_source + elsewhere_source
    if rows != batch.source_rows or total != batch.source_hash:
        raise InputLostError(
            f"transform {batch.title}: {batch.source_rows} rows landed, but {staged} are staged, {rejected} "
            f"rejected and {elsewhere} elsewhere, or their hashes differ; the batch is read again"
        )
    return rejected, elsewhere
