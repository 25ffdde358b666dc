"""The audit: may the plan work, and what would it move. Reads only."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from sinew.cli.given import context_of
from sinew.cli.tables import table
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.plan_sql import count_rows
from sinew.engine.audit import audit as audit_plan
from sinew.engine.planner import prepare
from sinew.engine.preflight import preflight
from sinew.engine.prove import takes_part
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context
from sinew.errors import PreflightError, Problem
from sinew.spec.sync import Sync


@dataclass(frozen=True)
class Share:
    """What one phase would read of one entity: rows, and the batches that they would make.

    The last phase reads all rows, and leaves alone those that earlier phases account for.
    """

    entity: str
    phase: str
    rows: int
    batches: int


def audit(options: Namespace) -> int:
    """Print what the plan needs and what it would move; with problems, all of them and 1."""
    context = context_of(options)
    with (
        connect(context.source, read_only=True, step="audit") as source,
        connect(context.home, read_only=True, step="audit") as home,
        translated(f"audit {context.migration.name}"),
    ):
        problems, notes, plans = _ask(context, source, home)
        for problem in problems:
            print(problem)
        if problems:
            return 1
        shares = [] if isinstance(context.migration, Sync) else list(_shares(source, plans))
    for line in _told(plans, shares, notes):
        print(line)
    return 0


def _ask(
    context: Context, source: psycopg.Connection, home: psycopg.Connection
) -> tuple[list[Problem], list[str], dict[str, EntityPlan]]:
    """Every finding of the preflight, of the audit and of the plan, not just the first one's."""
    problems: list[Problem] = []
    notes: list[str] = []
    plans: dict[str, EntityPlan] = {}
    try:
        notes = preflight(source, home, context.migration)
    except PreflightError as error:
        problems += error.problems
    try:
        plans = audit_plan(source, home, context.migration).plans
    except PreflightError as error:
        problems += error.problems
    if not problems:
        problems += _planned(context)
    return list(dict.fromkeys(problems)), notes, plans


def _planned(context: Context) -> list[Problem]:
    """What planning itself would refuse, such as a key that is not unique."""
    try:
        prepare(context, dry_run=True)
    except PreflightError as error:
        return list(error.problems)
    return []


def _shares(source: psycopg.Connection, plans: dict[str, EntityPlan]) -> Iterator[Share]:
    for plan in plans.values():
        migration, name = plan.migration, plan.entity.name
        for phase in migration.phases:
            if takes_part(migration, name, phase.name):
                row = source.execute(count_rows(plan, phase.name)).fetchone() or (0, 0)
                yield Share(name, phase.name, row[0], _batches(plan, *row))


def _batches(plan: EntityPlan, rows: int, without_key: int) -> int:
    if plan.keyless:
        return 1
    whole = max(1, -(-(rows - without_key) // plan.migration.batch.rows))
    return whole + (1 if without_key else 0)


def _told(plans: dict[str, EntityPlan], shares: list[Share], notes: list[str]) -> Iterator[str]:
    counted = [(share.entity, share.phase, share.rows, share.batches) for share in shares]
    if counted:
        yield from table(["entity", "phase", "rows read", "batches"], counted)
        yield ""
    for name, plan in plans.items():
        yield f"{name}"
        for line in _of_entity(plan):
            yield f"  {line}"
    hashes = {plan.facts.hash_mode for plan in plans.values()}
    yield f"\nRows are compared by their {' and '.join(sorted(hashes))} hashes."
    for note in notes:
        yield f"Note: {note}"
    yield "The plan can work."


def _of_entity(plan: EntityPlan) -> Iterator[str]:
    key = ", ".join(plan.entity.source_key) or "none: one batch, compared as a multiset"
    made = ", ".join(plan.target_key) or "none"
    yield f"key: {key} -> {made}"
    as_text = [f"{c.name} ({c.source_type.sql})" for c in plan.landed if c.travels_as_text]
    if as_text:
        yield f"travels as text: {', '.join(as_text)}"
    unique = [", ".join(columns) for columns in plan.facts.target_unique]
    if unique:
        yield f"unique in the target: {'; '.join(unique)}"
    if plan.deferred:
        yield f"filled in a second pass: {', '.join(ref.name for ref in plan.deferred)}"
