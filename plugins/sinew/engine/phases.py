"""Phases as the ledger has them: how far each is, what it moved, who approved it, its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from sinew.engine import ledger
from sinew.engine.session import Endpoint, connect, translated
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError, MismatchError
from sinew.explain import phase_entities
from sinew.paths import statement


@dataclass(frozen=True)
class PhaseStatus:
    """One phase: its state, its batches by state, and rows over all of them."""

    name: str
    state: str
    completed_at: datetime | None
    batches: dict[str, int]
    loaded: int
    rejected: int
    report: int | None


@dataclass(frozen=True)
class EntityRows:
    """What a phase moved of one entity."""

    entity: str
    batches: int
    read: int
    loaded: int
    kept: int
    deleted: int
    rejected: int
    bytes: int


def phase_states(endpoint: Endpoint, mapping: str) -> list[PhaseStatus]:
    """All phases that were planned, in order; none if the mapping never was. Reads only."""
    with (
        connect(endpoint, read_only=True, step="status") as home,
        translated(f"status of {mapping}"),
    ):
        return _states(home, mapping)


def _states(home: psycopg.Connection, mapping: str) -> list[PhaseStatus]:
    if not _exists(home, "sinew.phase"):
        return []
    rows = home.execute(statement("phase/states"), {"mapping": mapping}).fetchall()
    return [PhaseStatus(*row) for row in rows]


def _exists(home: psycopg.Connection, table: str) -> bool:
    return home.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone() == (True,)


def require_earlier_phases(context: Context, chosen: Sequence[str]) -> None:
    """Refuse a choice of phases that leaves out an earlier one which is not complete."""
    names = [phase.name for phase in context.migration.phases]
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        raise ConfigurationError(
            f"phases {list(chosen)} were chosen; allowed: one or more of {', '.join(names)}: "
            "choose again"
        )
    states = {item.name: item.state for item in phase_states(context.home, context.migration.name)}
    last = max(names.index(name) for name in chosen)
    open_ = [name for name in names[:last] if name not in chosen and states.get(name) != "complete"]
    if open_:
        raise ConfigurationError(
            f"phase {names[last]} comes after {', '.join(open_)}, which is not complete and was "
            "not chosen; phases move in their order: choose it as well"
        )


def require_complete(context: Context, phase: str) -> None:
    """Fail unless the ledger has the phase as complete, and a big bang as swapped in."""
    mapping = context.migration.name
    with (
        connect(context.home, read_only=True, step="complete") as home,
        translated(f"complete {mapping}"),
    ):
        found = {item.name: item for item in _states(home, mapping)}.get(phase)
        big_bang = context.migration.strategy == "big_bang"
        swapped = not big_bang or ledger.swapped(home, context.migration)
    if found is None or found.state != "complete":
        state = found.state if found else "not planned"
        batches = (
            ", ".join(f"{n} {state}" for state, n in found.batches.items()) if found else "none"
        )
        raise MismatchError(
            f"phase {phase} of {mapping} is {state}, not complete (batches: {batches}): mend what "
            "the failed tasks say, then clear them with all that follows, or start a new run"
        )
    if not swapped:
        raise MismatchError(
            f"{mapping}: the shadow tables were not swapped in: clear the task `swap`"
        )


def nothing_to_do(context: Context, phase: str) -> bool:
    """Whether the phase is complete and the mapping that is active now would move nothing more."""
    mapping = context.migration
    names = {"mapping": mapping.name, "phase": phase}
    with (
        connect(context.home, read_only=True, step="status") as home,
        translated(f"status of {mapping.name}"),
    ):
        states = {item.name: item.state for item in _states(home, mapping.name)}
        moved = {row[0] for row in home.execute(statement("phase/moved_entities"), names)}
    return states.get(phase) == "complete" and moved >= set(phase_entities(mapping, phase))


def entity_rows(context: Context, phase: str) -> dict[str, EntityRows]:
    """What the phase moved, by entity."""
    mapping = context.migration.name
    with (
        connect(context.home, read_only=True, step="count") as home,
        translated(f"count {mapping}"),
    ):
        rows = home.execute(
            statement("phase/entity_rows"), {"mapping": mapping, "phase": phase}
        ).fetchall()
    return {row[0]: EntityRows(*row) for row in rows}


def record_approval(context: Context, phase: str, run_id: str, person: str, decision: str) -> None:
    """Write down who let a phase begin, or refused it."""
    mapping = context.migration.name
    parameters = {
        "mapping": mapping,
        "phase": phase,
        "run_id": run_id,
        "person": person,
        "decision": decision,
    }
    with connect(context.home, step="approve") as home, translated(f"approve {mapping} {phase}"):
        home.execute(statement("phase/approve"), parameters)


def read_report(endpoint: Endpoint, mapping: str, report_id: int) -> str | None:
    """The HTML of one of the mapping's reports; None when there is none with that number."""
    with (
        connect(endpoint, read_only=True, step="report") as home,
        translated(f"report {report_id}"),
    ):
        if not _exists(home, "sinew.report"):
            return None
        row = home.execute(
            "SELECT html FROM sinew.report WHERE id = %s AND mapping = %s", (report_id, mapping)
        ).fetchone()
    return row[0] if row else None
