"""Prove a phase: source against row ledger, row ledger against target, and the business checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql

from sinew.compile.bounds import (
    Key,
    Range,
    key_column,
    key_given,
    membership,
    source_relation,
    within,
)
from sinew.compile.compare import Comparison, Difference, Side
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.transform_sql import source_row_hash
from sinew.engine import ledger
from sinew.engine.batch import get_batch
from sinew.engine.business import BusinessResult, run_business_check
from sinew.engine.extract import source_snapshot
from sinew.engine.reconcile import compare_target
from sinew.engine.segments import compare_sides
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context
from sinew.errors import MismatchError


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


@dataclass(frozen=True)
class PhaseProof:
    """All that was compared for one phase, in one snapshot of the source."""

    phase: str
    snapshot: str
    entities: tuple[EntityProof, ...]
    business: tuple[BusinessResult, ...]

    @property
    def equal(self) -> bool:
        """Whether everything agrees."""
        return all(item.equal for item in self.entities) and all(check.equal for check in self.business)


def prove_phase(context: Context, phase: str) -> PhaseProof:
    """Compare everything that the phase moved and record it; differing batches are opened again.

    The phase becomes complete only when everything agrees; MismatchError says what does not.
    """
    migration = context.migration
    with (
        connect(context.source, read_only=True, step="reconcile") as source,
        connect(context.home, step="reconcile") as home,
        translated(f"reconcile {migration.name} phase {phase}"),
    ):
        ledger.require_active(home, migration)
        _require_validated(home, context, phase)
        with source_snapshot(source) as (snapshot, _position, _system):
            proofs = tuple(
                _prove_entity(source, home, ledger.planned(home, migration, name).plan, phase)
                for name in migration.entity_order
                if _moved(context, name, phase)
            )
            business = tuple(run_business_check(source, home, migration, check) for check in migration.reconcile)
        proof = PhaseProof(phase, snapshot, proofs, business)
        _record(home, context, proof)
        _reopen(home, context, proof)
    if not proof.equal:
        raise MismatchError(_tell(context, proof))
    return proof


def _moved(context: Context, entity: str, phase: str) -> bool:
    migration = context.migration
    return migration.cohort_path(entity) is not None or phase == migration.phases[0].name


def _require_validated(home: psycopg.Connection, context: Context, phase: str) -> None:
    rows = home.execute(
        "SELECT entity, count(*) FROM sinew.batch WHERE mapping = %s AND phase = %s "
        "AND state NOT IN ('validated', 'stale') GROUP BY 1 ORDER BY 1",
        (context.migration.name, phase),
    ).fetchall()
    if rows:
        told = ", ".join(f"{entity}: {count}" for entity, count in rows)
        raise MismatchError(
            f"phase {phase} of {context.migration.name} has batches that are not validated ({told}): mend what "
            "stopped them, then clear their tasks or start a new run"
        )


def _prove_entity(
    source: psycopg.Connection, home: psycopg.Connection, plan: EntityPlan, phase: str
) -> EntityProof:
    name = plan.entity.name
    last = phase == plan.migration.phases[-1].name
    from_source = compare_sides(
        source, source_side(plan, None if last else phase), home, ledger_side(plan, None if last else phase),
        doing=f"reconcile {plan.migration.name}/{name}: source against row ledger",
    )
    sharing = [e.name for e in plan.migration.entities.values() if e.into == plan.entity.into and e.name != name]
    on_target = compare_target(
        home,
        plan.ledger,
        plan.target,
        [(f"t{i}", column) for i, column in enumerate(plan.target_key, start=1)],
        plan.target_hash("r"),
        sharing=[ledger_of(plan.migration, other) for other in sharing],
        exclusive=plan.migration.existing_of(name) == "fail",
        doing=f"reconcile {plan.migration.name}/{name}: row ledger against target",
    )
    return EntityProof(name, from_source, on_target)


def source_side(plan: EntityPlan, phase: str | None) -> Side:
    """The source's rows of one phase; of all phases, without any predicate of theirs, when it is None."""
    where: list[sql.Composable] = []
    if phase is not None or plan.entity.where:
        where.append(membership(plan, phase or plan.migration.phases[-1].name))
    if plan.key_nullable and not plan.keyless:
        where.append(key_given(plan, "r"))
    return Side(
        relation=source_relation(plan.migration, plan.entity.name, "r"),
        key=tuple(_source_keys(plan)),
        key_types=plan.key_types if not plan.keyless else (),
        hash=source_row_hash(plan),
        where=sql.SQL(" AND ").join(where) if where else None,
    )


def _source_keys(plan: EntityPlan) -> Iterable[sql.Composable]:
    landed = {column.name: column for column in plan.landed}
    for name in plan.entity.source_key:
        value: sql.Composable = sql.Identifier("r", name)
        if landed[name].travels_as_text:
            value = sql.SQL("{}::{}").format(value, sql.SQL(landed[name].type.sql))  # type: ignore[arg-type]
        yield key_column(value, landed[name].type)


def ledger_side(plan: EntityPlan, phase: str | None) -> Side:
    """The row ledger's entries of one phase, or all: what Sinew says that the source holds."""
    known = sql.SQL("r.state IN ('live', 'kept', 'rejected')")
    if phase is not None:
        known = sql.SQL("{} AND {}").format(known, _of_phase(plan, phase))  # type: ignore[assignment]
    keys = () if plan.keyless else tuple(
        key_column(sql.Identifier("r", f"k{i}"), type_) for i, type_ in enumerate(plan.key_types, start=1)
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


# --- what becomes of a proof


def _record(home: psycopg.Connection, context: Context, proof: PhaseProof) -> None:
    name = context.migration.name
    rows: list[tuple[Any, ...]] = [
        (name, proof.phase, item.entity, side, result.equal, _json(result))
        for item in proof.entities
        for side, result in (("source", item.source), ("target", item.target))
    ]
    rows += [(name, proof.phase, None, check.name, check.equal, _json(check)) for check in proof.business]
    with home.transaction():
        home.execute("DELETE FROM sinew.comparison WHERE mapping = %s AND phase = %s", (name, proof.phase))
        home.cursor().executemany(
            "INSERT INTO sinew.comparison (mapping, phase, entity, name, equal, result) VALUES (%s, %s, %s, %s, %s, %s)",
            rows,
        )
        home.execute(
            "UPDATE sinew.phase SET state = %s, completed_at = CASE WHEN %s THEN now() END "
            "WHERE mapping = %s AND name = %s",
            ("complete" if proof.equal else "failed", proof.equal, name, proof.phase),
        )


def _json(result: Any) -> str:
    return json.dumps(asdict(result), default=str)


def _reopen(home: psycopg.Connection, context: Context, proof: PhaseProof) -> None:
    """A batch whose range holds a difference is loaded anew by the next run."""
    for item in proof.entities:
        if item.equal:
            continue
        plan = ledger.planned(home, context.migration, item.entity).plan
        whole = plan.keyless or not item.source.complete or not item.target.complete
        keys = [d.key for d in item.source.differences]
        _mark(home, plan, proof.phase, [] if whole else keys, whole)
        _mark_target(home, plan, item.target.differences)


def _mark(
    home: psycopg.Connection, plan: EntityPlan, phase: str, keys: Sequence[tuple[str | None, ...]], whole: bool
) -> None:
    rows = home.execute(
        "SELECT id FROM sinew.batch WHERE mapping = %s AND entity = %s AND phase = %s AND state = 'validated'",
        (plan.migration.name, plan.entity.name, phase),
    ).fetchall()
    for (batch_id,) in rows:
        if whole or _holds(home, plan, get_batch(home, batch_id).range, keys):
            home.execute("UPDATE sinew.batch SET state = 'mismatched' WHERE id = %s", (batch_id,))


def _holds(
    home: psycopg.Connection, plan: EntityPlan, range_: Range, keys: Sequence[tuple[str | None, ...]]
) -> bool:
    """Whether any of the keys lies in a batch's range; the database compares, in its own order."""

    given: list[Key] = [tuple(str(part) for part in key) for key in keys]
    for key in given:
        values = [
            sql.SQL("{}::{}").format(sql.Literal(part), sql.SQL(type_.sql))  # type: ignore[arg-type]
            for part, type_ in zip(key, plan.key_types, strict=True)
        ]
        query = sql.SQL("SELECT {}").format(within(values, plan.key_types, range_))
        if home.execute(query).fetchone() == (True,):
            return True
    return False


def _mark_target(home: psycopg.Connection, plan: EntityPlan, differences: Sequence[Difference]) -> None:
    """A target row that is missing or changed belongs to the batch that brought it."""
    for difference in differences:
        if difference.kind == "extra" or not plan.target_key:
            continue
        same = sql.SQL(" AND ").join(
            sql.SQL("w.{}::text = {}").format(sql.Identifier(f"t{i}"), sql.Literal(part))
            for i, part in enumerate(difference.key, start=1)
        )
        home.execute(
            sql.SQL(
                "UPDATE sinew.batch SET state = 'mismatched' WHERE state = 'validated' "
                "AND id IN (SELECT batch_id FROM {} AS w WHERE {})"
            ).format(plan.ledger, same)
        )


def _tell(context: Context, proof: PhaseProof) -> str:
    told = []
    for item in proof.entities:
        for side, result in (("source and row ledger", item.source), ("row ledger and target", item.target)):
            if not result.equal:
                told.append(f"{item.entity}: {side} differ in {_named(result)}")
    told += [f"{check.name}: {check.differing} keys differ" for check in proof.business if not check.equal]
    return (
        f"reconcile {context.migration.name} phase {proof.phase}: " + "; ".join(told) + ". The batches concerned are "
        "open again: a new run reads and loads them anew. Extra rows in the target were not brought by this "
        "migration: find out who wrote them"
    )


def _named(result: Comparison) -> str:
    shown = ", ".join(f"{d.kind} ({', '.join(map(str, d.key))})" for d in result.differences[:5])
    more = "" if result.complete and len(result.differences) <= 5 else " and more"
    return f"{len(result.differences)} rows: {shown}{more}"
