"""Prove a phase: all that it moved, compared in one snapshot of the source, and the business checks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from sinew.compile.business_plan import plan_check
from sinew.compile.compare import Comparison
from sinew.engine import ledger
from sinew.engine.business import BusinessResult, run_business_check
from sinew.engine.comparing import EntityProof, compare_entity
from sinew.engine.extract import source_snapshot
from sinew.engine.reopening import reopen
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context
from sinew.errors import MismatchError
from sinew.spec.parts import BusinessCheck
from sinew.spec.pipeline import Pipeline


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
        return all(item.equal for item in self.entities) and all(
            check.equal for check in self.business
        )


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
        proof = compare_phase(source, home, migration, phase)
        _record(home, context, proof)
        for item in proof.entities:
            reopen(home, ledger.planned(home, migration, item.entity).plan, item, phase)
    if not proof.equal:
        raise MismatchError(_tell(context, proof))
    return proof


def compare_phase(
    source: psycopg.Connection, home: psycopg.Connection, migration: Pipeline, phase: str
) -> PhaseProof:
    """Every comparison of a phase, in one snapshot of the source. Reads only."""
    with source_snapshot(source) as (snapshot, _position, _system):
        proofs = tuple(
            compare_entity(source, home, ledger.planned(home, migration, name).plan, phase)
            for name in migration.entity_order
            if takes_part(migration, name, phase)
        )
        business = tuple(
            _ask(source, home, migration, check, phase)
            for check in migration.reconcile
            # Without a ledger to go through, a question concerns all rows, and they are there at the end.
            if check.through is not None or phase == migration.phases[-1].name
        )
    return PhaseProof(phase, snapshot, proofs, business)


def takes_part(migration: Pipeline, entity: str, phase: str) -> bool:
    """Whether rows of the entity move in the phase."""
    return migration.takes_part(entity, phase)


def _ask(
    source: psycopg.Connection,
    home: psycopg.Connection,
    migration: Pipeline,
    check: BusinessCheck,
    phase: str,
) -> BusinessResult:
    rejecting = (
        ledger.planned(home, migration, check.rejected.entity).plan if check.rejected else None
    )
    shadow = migration.strategy == "big_bang" and not ledger.swapped(home, migration)
    return run_business_check(
        source, home, plan_check(migration, check, phase, rejecting, shadow=shadow)
    )


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


def _record(home: psycopg.Connection, context: Context, proof: PhaseProof) -> None:
    name = context.migration.name
    rows: list[tuple[Any, ...]] = [
        (name, proof.phase, item.entity, side, result.equal, _json(result))
        for item in proof.entities
        for side, result in (("source", item.source), ("target", item.target))
    ]
    rows += [
        (name, proof.phase, None, check.name, check.equal, _json(check)) for check in proof.business
    ]
    with home.transaction():
        home.execute(
            "DELETE FROM sinew.comparison WHERE mapping = %s AND phase = %s", (name, proof.phase)
        )
        home.cursor().executemany(
            "INSERT INTO sinew.comparison (mapping, phase, entity, name, equal, result) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            rows,
        )
        home.execute(
            "UPDATE sinew.phase SET state = %s, completed_at = CASE WHEN %s THEN now() END "
            "WHERE mapping = %s AND name = %s",
            ("complete" if proof.equal else "failed", proof.equal, name, proof.phase),
        )


def _json(result: Any) -> str:
    return json.dumps(asdict(result), default=str)


def _tell(context: Context, proof: PhaseProof) -> str:
    told = []
    for item in proof.entities:
        for side, result in (
            ("source and row ledger", item.source),
            ("row ledger and target", item.target),
        ):
            if not result.equal:
                told.append(f"{item.entity}: {side} differ in {_named(result)}")
    told += [
        f"{check.name}: {check.difference_count} differences"
        for check in proof.business
        if not check.equal
    ]
    return (
        f"reconcile {context.migration.name} phase {proof.phase}: "
        + "; ".join(told)
        + ". The batches concerned are "
        "open again: a new run reads and loads them anew. Extra rows in the target were not brought by this "
        "migration: find out who wrote them"
    )


def _named(result: Comparison) -> str:
    shown = ", ".join(f"{d.kind} ({', '.join(map(str, d.key))})" for d in result.differences[:5])
    more = "" if result.complete and len(result.differences) <= 5 else " and more"
    return f"{len(result.differences)} rows: {shown}{more}"
