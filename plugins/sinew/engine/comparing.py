"""Compare one entity: source against row ledger, row ledger against target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from sinew.compile.bounds import (
    NEVER,
    Range,
    key_column,
    key_given,
    membership,
    ordered_source_keys,
    source_relation,
    within,
)
from sinew.compile.compare import Comparison, Side
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.transform_sql import source_row_hash
from sinew.engine.reconcile import compare_target
from sinew.engine.segments import compare_sides


@dataclass(frozen=True)
class EntityProof:
    """Both comparisons of one entity."""

    entity: str
    source: Comparison
    target: Comparison

    @property
    def equal(self) -> bool:
        """Whether neither found a difference."""
        return self.source.equal and self.target.equal


def compare_entity(
    source: psycopg.Connection,
    home: psycopg.Connection,
    plan: EntityPlan,
    phase: str,
    ranges: Sequence[Range] | None = None,
) -> EntityProof:
    """Compare one entity for one phase; after the last phase all its rows, without any phase's predicate.

    With ``ranges`` only what lies in them is asked of the source, which is in a REPEATABLE READ
    transaction of the caller. Reads only.
    """
    name = plan.entity.name
    last = phase == plan.migration.phases[-1].name
    from_source = compare_sides(
        source,
        _within(source_side(plan, None if last else phase), ranges),
        home,
        _within(ledger_side(plan, None if last else phase), ranges),
        doing=f"reconcile {plan.migration.name}/{name}: source against row ledger",
    )
    on_target = compare_target(
        home,
        plan.ledger,
        plan.target,
        [(f"t{i}", column) for i, column in enumerate(plan.target_key, start=1)],
        plan.target_hash("r"),
        sharing=[ledger_of(plan.migration, other) for other in plan.sharing],
        exclusive=plan.migration.existing_of(name) == "fail",
        doing=f"reconcile {plan.migration.name}/{name}: row ledger against target",
    )
    return EntityProof(name, from_source, on_target)


def _within(side: Side, ranges: Sequence[Range] | None) -> Side:
    if ranges is None or not side.key:
        return side
    # The keys carry their collation already, as both databases order them.
    parts = [sql.SQL("({})").format(within(side.key, side.key_types, r)) for r in _joined(ranges)]
    inside = sql.SQL(" OR ").join(parts) if parts else NEVER
    where = [sql.SQL("({})").format(part) for part in (side.where, inside) if part is not None]
    return replace(side, where=sql.SQL(" AND ").join(where))


def _joined(ranges: Sequence[Range]) -> list[Range]:
    """Neighbours as one range, so that a thousand batches are no thousand conditions for each row."""
    found: list[Range] = []
    for range_ in ranges:
        if found and found[-1].upper is not None and found[-1].upper == range_.lower:
            found[-1] = replace(found[-1], upper=range_.upper)
        else:
            found.append(range_)
    return found


def source_side(plan: EntityPlan, phase: str | None) -> Side:
    """The source's rows of one phase; of all phases, without any predicate of theirs, when it is None."""
    where: list[sql.Composable] = []
    if phase is not None or plan.entity.where:
        where.append(membership(plan, phase or plan.migration.phases[-1].name))
    if plan.key_nullable and not plan.keyless:
        where.append(key_given(plan, "r"))
    return Side(
        relation=source_relation(plan.migration, plan.entity.name, "r"),
        key=tuple(ordered_source_keys(plan)) if not plan.keyless else (),
        key_types=plan.key_types if not plan.keyless else (),
        hash=source_row_hash(plan),
        where=sql.SQL(" AND ").join(where) if where else None,
    )


def ledger_side(plan: EntityPlan, phase: str | None) -> Side:
    """The row ledger's entries of one phase, or all: what Sinew says that the source holds."""
    known = sql.SQL("r.state IN ('live', 'kept', 'rejected')")
    if phase is not None:
        known = sql.SQL("{} AND {}").format(known, _of_phase(plan, phase))  # type: ignore[assignment]
    keys = (
        ()
        if plan.keyless
        else tuple(
            key_column(sql.Identifier("r", f"k{i}"), type_)
            for i, type_ in enumerate(plan.key_types, start=1)
        )
    )
    return Side(
        relation=sql.SQL("{} AS r").format(plan.ledger),
        key=keys,
        key_types=plan.key_types if keys else (),
        hash=sql.Identifier("r", "source_hash"),
        where=known,
    )


def _of_phase(plan: EntityPlan, phase: str) -> sql.Composable:
    return sql.SQL(
        "r.batch_id IN (SELECT id FROM sinew.batch WHERE mapping = {} AND entity = {} AND phase = {})"
    ).format(sql.Literal(plan.migration.name), sql.Literal(plan.entity.name), sql.Literal(phase))
