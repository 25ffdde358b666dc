"""Commands that move and compare rows: run, diff."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic

from sinew.cli.given import context_of, migration_context, phases_of
from sinew.cli.syncing import run_window
from sinew.cli.tables import table
from sinew.compile.compare import Comparison
from sinew.engine import ledger
from sinew.engine.business import BusinessResult
from sinew.engine.driver import run as run_phases
from sinew.engine.phases import entity_rows, phase_states, record_approval, require_earlier_phases
from sinew.engine.prove import PhaseProof, compare_phase
from sinew.engine.reporting import store_report
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import Sync


def run(options: Namespace) -> int:
    """Move phases, telling of each entity as it goes; a report is kept of every phase it reached.

    Of a sync, one window.
    """
    context = context_of(options)
    if isinstance(context.migration, Sync):
        return run_window(options, context)
    _refuse_window(options, context.migration)
    chosen = phases_of(context.migration, options.phases)
    require_earlier_phases(context, chosen)
    began, run_id = monotonic(), f"cli {datetime.now(UTC).isoformat(timespec='seconds')}"
    _approve(context, chosen, run_id, options.approved_by)

    def tell(line: str) -> None:
        print(f"{monotonic() - began:7.1f} s  {line}", flush=True)

    try:
        result = run_phases(context, phases=chosen, batch_rows=options.batch_rows, tell=tell)
    finally:
        _keep_reports(context, chosen, run_id)
    for line in _moved(context, chosen):
        print(line)
    if not result.batches:
        print("Everything was in place: nothing was moved, and all of it was compared once more.")
    return 0


def _refuse_window(options: Namespace, migration: Pipeline) -> None:
    if options.lower or options.upper or options.keep_answers:
        raise ConfigurationError(
            f"{migration.name} is a migration, which has phases and no windows: leave out --from, --to and "
            "--keep-answers"
        )


def _approve(context: Context, chosen: list[str], run_id: str, person: str | None) -> None:
    """A phase that needs an approval begins only in somebody's name, which the ledger keeps."""
    states = {item.name: item.state for item in phase_states(context.home, context.migration.name)}
    waiting = [
        phase.name
        for phase in context.migration.phases
        if phase.name in chosen and phase.approval and states.get(phase.name) != "complete"
    ]
    if not waiting:
        return
    if not person:
        raise ConfigurationError(
            f"phase {', '.join(waiting)} of {context.migration.name} needs an approval: say whose by "
            "`--approved-by PERSON`, or choose other phases with --phase"
        )
    with connect(context.home, step="approve") as home, translated("approve"):
        ledger.upgrade(home)
    for phase in waiting:
        record_approval(context, phase, run_id, person, "approved")


def _keep_reports(context: Context, chosen: list[str], run_id: str) -> None:
    """Also of a phase that failed: its report says what is missing."""
    states = {item.name: item.state for item in phase_states(context.home, context.migration.name)}
    failing = sys.exc_info()[0] is not None
    for phase in chosen:
        if states.get(phase) in ("complete", "failed") or (
            failing and states.get(phase) == "running"
        ):
            store_report(context, phase, run_id)


def _moved(context: Context, chosen: list[str]) -> Iterator[str]:
    rows = [
        (phase, row.entity, row.batches, row.read, row.loaded, row.kept, row.rejected)
        for phase in chosen
        for row in entity_rows(context, phase).values()
    ]
    yield ""
    yield from table(["phase", "entity", "batches", "read", "loaded", "kept", "rejected"], rows)


def diff(options: Namespace) -> int:
    """Compare phases as they are now and print the keys of rows that differ; 1 when there are any."""
    context = migration_context(options)
    phases = _comparable(context, options.phases)
    proofs = [_compare(context, phase) for phase in phases]
    for proof in proofs:
        for line in _differences(proof):
            print(line)
    equal = all(proof.equal for proof in proofs)
    if equal:
        print(f"No difference: {', '.join(phases)} of {context.migration.name}")
    return 0 if equal else 1


def _comparable(context: Context, given: list[str] | None) -> list[str]:
    """The phases that were named; else those that were compared before, whose rows are all there."""
    wanted = phases_of(context.migration, given)
    states = {item.name: item.state for item in phase_states(context.home, context.migration.name)}
    allowed = ("complete", "failed", "running") if given else ("complete", "failed")
    found = [name for name in wanted if states.get(name) in allowed]
    if not found or (given and len(found) < len(wanted)):
        told = ", ".join(f"{name} is {states.get(name, 'not planned')}" for name in wanted)
        raise ConfigurationError(
            f"{context.migration.name} has nothing to compare ({told}): move it first"
        )
    return found


def _compare(context: Context, phase: str) -> PhaseProof:
    migration = context.migration
    with (
        connect(context.source, read_only=True, step="diff") as source,
        connect(context.home, step="diff") as home,
        translated(f"diff {migration.name} phase {phase}"),
    ):
        ledger.require_active(home, migration)
        return compare_phase(source, home, migration, phase)


def _differences(proof: PhaseProof) -> Iterator[str]:
    for item in proof.entities:
        yield from _of_entity(proof.phase, item.entity, "source and row ledger", item.source)
        yield from _of_entity(proof.phase, item.entity, "row ledger and target", item.target)
    for check in proof.business:
        yield from _of_check(proof.phase, check)


def _of_entity(phase: str, entity: str, sides: str, found: Comparison) -> Iterator[str]:
    if found.equal:
        return
    more = "" if found.complete else " or more"
    yield f"{phase}: {entity}: {sides} differ in {len(found.differences):,} rows{more}"
    for item in found.differences:
        key = ", ".join("NULL" if part is None else part for part in item.key)
        times = f", {item.times} times" if item.times > 1 else ""
        yield f"  {item.kind} ({key}){times}"


def _of_check(phase: str, check: BusinessResult) -> Iterator[str]:
    if check.equal:
        return
    yield f"{phase}: {check.name}: {check.difference_count:,} differences"
    for item in check.differences:
        key = ", ".join("NULL" if part is None else part for part in item.key)
        said = f": {item.column} is {item.source} against {item.target}" if item.column else ""
        yield f"  {item.kind} ({key}){said}"
