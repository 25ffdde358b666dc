"""Drive a whole migration without Airflow: the same steps, in the same order, from one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from sinew.engine.ledger import swapped
from sinew.engine.planner import plan_phase, prepare
from sinew.engine.prove import PhaseProof, prove_phase
from sinew.engine.session import connect
from sinew.engine.settle import settle
from sinew.engine.shadows import swap
from sinew.engine.steps import STEPS, Context, run_step

Listener = Callable[[str], None]


@dataclass(frozen=True)
class RunResult:
    """Proofs of the phases that ran, and the batches that were worked on."""

    proofs: tuple[PhaseProof, ...]
    batches: int


def run(
    context: Context,
    *,
    phases: Sequence[str] | None = None,
    batch_rows: int | None = None,
    tell: Listener = lambda line: None,
) -> RunResult:
    """Plan, move and prove the phases one after another; raises at the first phase that is not complete.

    Batches of one entity run side by side, as many as the context has lanes.
    """
    result = prepare(context)
    for note in result.notes:
        tell(note)
    proofs, batches = [], 0
    for phase in context.migration.phases:
        if phases is None or phase.name in phases:
            batches += _move(context, phase.name, batch_rows, tell)
            proofs.append(_prove(context, phase.name, tell))
    return RunResult(tuple(proofs), batches)


def _move(context: Context, phase: str, batch_rows: int | None, tell: Listener) -> int:
    planned = plan_phase(context, phase, batch_rows)
    for entity, batch_ids in planned.items():
        if batch_ids:
            tell(f"{phase}: {entity}: {len(batch_ids)} batches")
            _side_by_side(context, batch_ids)
    return sum(map(len, planned.values()))


def _side_by_side(context: Context, batch_ids: Sequence[int]) -> None:
    workers = min(context.lanes, len(batch_ids))
    if workers == 1:
        for batch_id in batch_ids:
            _whole_way(context, batch_id)
        return
    # Processes, because pumping rows is work for Python; spawned, because a connection must not be inherited.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(_whole_way, context, batch_id) for batch_id in batch_ids]:
            done.result()


def _whole_way(context: Context, batch_id: int) -> None:
    for step in STEPS:
        run_step(context, batch_id, step)


def _prove(context: Context, phase: str, tell: Listener) -> PhaseProof:
    settle(context, phase)
    proof = prove_phase(context, phase)
    tell(f"{phase}: proved, {len(proof.entities)} entities, {len(proof.business)} business checks")
    if context.migration.strategy == "big_bang" and phase == context.migration.phases[-1].name:
        swap_once(context, tell)
    return proof


def swap_once(context: Context, tell: Listener = lambda line: None) -> None:
    """Exchange a big bang's tables, unless that has happened."""
    with connect(context.home, step="swap") as home:
        if not swapped(home, context.migration):
            tell("swapped " + ", ".join(swap(home, context.migration)))
