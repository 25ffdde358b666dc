"""Every statement that moves one batch of an entity, in the order of its steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sinew.compile import earlier_sql, load_sql, plan_sql, settle_sql, table_sql, transform_sql
from sinew.compile.bounds import Range
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.transform_sql import Circumstances

Side = Literal["source", "target"]


@dataclass(frozen=True)
class Labelled:
    """One statement: the step that runs it, the database that it runs on, and what it is for."""

    step: str
    side: Side
    title: str
    statement: sql.Composable


def statements_of(plan: EntityPlan, phase: str, batch_id: int = 1) -> tuple[Labelled, ...]:
    """The statements of all steps for a batch without bounds, in a target that holds none of it.

    A batch that has a range says so by a predicate over the key; one that is loaded again writes by
    INSERT … ON CONFLICT.
    """
    now = Circumstances(batch_id, phase)
    return (
        *_plan(plan, phase),
        *_extract(plan, phase, batch_id),
        *_transform(plan, now),
        *_check(plan, batch_id),
        *_load(plan, batch_id),
        *_validate(plan, batch_id),
        *_settle(plan),
    )


def _plan(plan: EntityPlan, phase: str) -> Iterator[Labelled]:
    rows = plan.migration.batch.rows
    yield Labelled(
        "plan", "source", "rows, and rows without a key", plan_sql.count_rows(plan, phase)
    )
    if not plan.keyless:
        yield Labelled(
            "plan", "source", "keys that cut batches", plan_sql.range_bounds(plan, phase, rows)
        )
    yield Labelled("plan", "target", "the row ledger", table_sql.create_row_ledger(plan))


def _extract(plan: EntityPlan, phase: str, batch_id: int) -> Iterator[Labelled]:
    step = "extract"
    yield Labelled(step, "target", "landing", table_sql.create_landing(plan, batch_id))
    outgoing = transform_sql.copy_from_source(plan, phase, Range())
    yield Labelled(step, "source", "raw rows, each with its hash, into a pipe", outgoing)
    incoming = transform_sql.copy_to_landing(plan, batch_id)
    yield Labelled(step, "target", "out of the pipe into landing", incoming)
    evidence = transform_sql.landing_evidence(plan, batch_id)
    yield Labelled(step, "target", "the same rows with the same hashes arrived", evidence)


def _transform(plan: EntityPlan, now: Circumstances) -> Iterator[Labelled]:
    step = "transform"
    yield Labelled(step, "target", "staging", table_sql.create_staging(plan, now.batch_id))
    if plan.python_columns:
        made = table_sql.create_python(plan, now.batch_id)
        yield Labelled(step, "target", "values that Python functions make", made)
    mapped = transform_sql.insert_staging(plan, now)
    yield Labelled(step, "target", "every row that no rule keeps out", mapped)
    kept_out = transform_sql.insert_rejects(plan, now)
    yield Labelled(step, "target", "every other row, with its rule", kept_out)
    for nulled in transform_sql.insert_nulled(plan, now):
        yield Labelled(step, "target", "values that became NULL", nulled)
    totals = transform_sql.staging_totals(plan, now.batch_id)
    yield Labelled(step, "target", "staged rows are accounted for", totals)
    rejected = transform_sql.reject_totals(now.batch_id)
    yield Labelled(step, "target", "rejected rows are accounted for", rejected)


def _check(plan: EntityPlan, batch_id: int) -> Iterator[Labelled]:
    """The checks themselves are Soda's, made from the contract when the batch is judged."""
    totals = transform_sql.staging_totals(plan, batch_id)
    yield Labelled("check", "target", "staging is what the transform left", totals)


def _load(plan: EntityPlan, batch_id: int) -> Iterator[Labelled]:
    staged = transform_sql.staging_hash(plan, batch_id)
    yield Labelled("load", "target", "staging is what the gate saw", staged)
    for title, statement in _writes(plan, batch_id):
        yield Labelled("load", "target", title, statement)
    rejected = load_sql.upsert_rejected(plan, batch_id)
    yield Labelled("load", "target", "rejected rows into the row ledger", rejected)


def _writes(plan: EntityPlan, batch_id: int) -> Iterator[tuple[str, sql.Composable]]:
    existing = plan.migration.existing_of(plan.entity.name)
    if plan.keyless and not plan.target_key:
        yield "rows of an earlier load go", earlier_sql.delete_plain_rows(plan)
        yield "and so do their entries", earlier_sql.delete_ledger(plan)
    elif existing == "keep":
        yield "keys that are new", load_sql.create_new_keys(plan)
        yield "rows whose key is free", load_sql.insert_target_keeping(plan, batch_id, fresh=True)
        yield "the row ledger", load_sql.upsert_ledger(plan, batch_id, keeping=True)
        return
    elif existing == "update":
        yield "rows, over those of the same key", load_sql.upsert_target(plan, batch_id)
        yield "the row ledger", load_sql.upsert_ledger(plan, batch_id)
        return
    yield "rows into an empty range", load_sql.insert_target(plan, batch_id)
    yield "the row ledger", load_sql.insert_ledger(plan, batch_id)


def _validate(plan: EntityPlan, batch_id: int) -> Iterator[Labelled]:
    if plan.target_key:
        evidence = load_sql.target_evidence(plan, batch_id, Range())
    else:
        evidence = load_sql.plain_target_evidence(plan, batch_id)
    yield Labelled("validate", "target", "the target holds what was staged", evidence)


def _settle(plan: EntityPlan) -> Iterator[Labelled]:
    for index, ref in enumerate(plan.deferred):
        parent = plan.migration.entities[ref.entity]
        taken = parent.target_key.index(ref.take or parent.target_key[0]) + 1
        filled = settle_sql.settle_reference(
            plan, index, ledger_of(plan.migration, ref.entity), taken
        )
        yield Labelled("settle", "target", f"{ref.name}, where its parent has arrived", filled)
