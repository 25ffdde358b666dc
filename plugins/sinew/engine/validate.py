"""Validate: the batch's rows in the target are, row by row, those that were staged; then the tables go."""

from __future__ import annotations

from time import monotonic

import psycopg

from sinew.compile import window_sql
from sinew.compile.bounds import ALWAYS
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import (
    plain_target_evidence,
    range_evidence,
    target_evidence,
    target_range,
)
from sinew.compile.table_sql import landing_table, python_table, staging_table
from sinew.engine.batch import Batch, advance, set_state
from sinew.engine.session import drop_tables, translated
from sinew.errors import MismatchError


def validate(
    home: psycopg.Connection, plan: EntityPlan, batch: Batch, *, keep_tables: bool = False
) -> None:
    """Join the batch's ledger entries to the target; a difference makes the batch 'mismatched'."""
    began = monotonic()
    with translated(f"validate {batch.title}"):
        home.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            problem, total = _compare(home, plan, batch)
            if problem:
                set_state(home, batch, "mismatched")
            else:
                if not keep_tables:
                    drop_tables(
                        home,
                        landing_table(batch.id),
                        staging_table(batch.id),
                        python_table(batch.id),
                    )
                advance(
                    home, batch, "validated", "validate", monotonic() - began, target_hash=total
                )
            home.commit()
        except BaseException:
            if not home.closed:
                home.rollback()
            raise
    if problem:
        raise MismatchError(
            f"validate {batch.title}: {problem}; run the migration again to load the batch anew"
        )


def _compare(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> tuple[str, int]:
    entries, found, wanted, total, differing = _evidence(home, plan, batch)
    counted = home.execute(
        "SELECT loaded_rows, kept_rows, newer_rows, unchanged_rows FROM sinew.batch WHERE id = %s",
        (batch.id,),
    ).fetchone() or (0, 0, 0, 0)
    loaded, kept, newer, unchanged = (count or 0 for count in counted)
    ours = loaded + unchanged
    missing = ours - entries
    overtaken = _overtaken(home, plan, batch) if missing and plan.windowed else 0
    if not 0 <= missing <= overtaken or ours + kept + newer != batch.staged_rows:
        return (
            f"{batch.staged_rows} rows were staged, {loaded} loaded, {kept} kept, {newer} newer in the target, "
            f"{unchanged} unchanged, {entries} are in the row ledger",
            0,
        )
    if differing or found != entries or total != wanted:
        return f"{differing} of {entries} rows are missing from the target or differ there", 0
    if not kept and not newer and not overtaken and total != batch.staging_hash:
        return "the target's hash is not the staging's", 0
    return "", total


def _evidence(
    home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> tuple[int, int, int, int, int]:
    """Entries, rows found, the sums of their hashes, and rows that differ."""
    if not plan.target_key:
        query = plain_target_evidence(plan, batch.id)
        return home.execute(query).fetchone() or (0, 0, 0, 0, 0)
    bounded = target_range(plan, batch.range) != ALWAYS
    if bounded:
        # Half the work of a join, and the answer wherever the range holds nothing but the batch.
        query = range_evidence(plan, batch.id, batch.range)
        entries, wanted, found, total = home.execute(query).fetchone() or (0, 0, 0, 0)
        if (entries, wanted) == (found, total):
            return entries, found, wanted, total, 0
    _prefer_scans(home, batch, bounded)
    query = target_evidence(plan, batch.id, batch.range)
    return home.execute(query).fetchone() or (0, 0, 0, 0, 0)


def _overtaken(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> int:
    """Rows of this batch that another window has written since, or had in a newer version."""
    row = home.execute(window_sql.overtaken(plan, batch.id)).fetchone()
    return int(row[0]) if row else 0


# A scan reads about this many rows in the time in which an index finds one.
_SCANNED_FOR_ONE_FOUND = 20


def _prefer_scans(home: psycopg.Connection, batch: Batch, bounded: bool) -> None:
    """Keep the planner, which has no statistics of rows that were just loaded, from looking up each of them.

    Only where the target need not be read far beyond the batch: its range is known there, or the batch is a
    good part of it.
    """
    row = home.execute(
        "SELECT coalesce(sum(loaded_rows), 0) FROM sinew.batch WHERE mapping = %s AND entity = %s",
        (batch.mapping, batch.entity),
    ).fetchone()
    loaded = row[0] if row else 0
    if bounded or (batch.staged_rows or 0) * _SCANNED_FOR_ONE_FOUND >= loaded:
        home.execute("SET LOCAL enable_nestloop = off")
