"""Mappings of migrations to Airflow DAGs.

    plan → for each phase: [approve] → batches → lists → groups of batches → settle
                           → reconcile → [swap] → report → complete → the next phase

A mapped group over an empty list is skipped, and so would be all that follows it by the default
trigger rule: what joins several tasks or begins a group runs unless something *failed*, and
``complete`` asks the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, task_group

from sinew.dagparts import DEFAULTS, STEP_DOCS, STEPS
from sinew.explain import explain, levels, phase_entities
from sinew.hooks.mappings import read_migration, read_migrations
from sinew.operators.base import SinewOperator
from sinew.operators.batch_step import StepOperator
from sinew.operators.planning import BatchesOperator, ListOperator, PlanOperator
from sinew.operators.proving import (
    CompleteOperator,
    ReconcileOperator,
    SettleOperator,
    SwapOperator,
    entity_asset,
)
from sinew.operators.report_link import ReportOperator
from sinew.spec import Migration, Phase

PREFIX = "migrate__"

# More mapped groups than this make a graph that takes seconds to parse at every task's start: 903
# tasks are built in 0.9 s, 6,005 in 11.5 s.
_MOST_GROUPS = 40

# Runs unless something above failed: an empty phase or entity must not skip what follows.
_UNLESS_FAILED = "none_failed"


def build_migrations(only: str | None = None) -> dict[str, DAG]:
    """A DAG for each mapping, by dag id; just that of the id ``only``, if it is one of ours.

    Raises one SpecError with the problems of all files.
    """
    if only is None:
        return {
            PREFIX + name: build_dag(migration) for name, migration in read_migrations().items()
        }
    if not only.startswith(PREFIX):
        return {}
    return {only: build_dag(read_migration(only.removeprefix(PREFIX)))}


def build_dag(migration: Migration) -> DAG:
    """The DAG of one migration; the same for the same mapping, wherever it is built."""
    with DAG(
        dag_id=PREFIX + migration.name,
        description=migration.description or f"Migration {migration.name}",
        doc_md=explain(migration),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        params=_form(migration),
        tags=sorted(
            {"migration", migration.strategy, migration.source.conn, migration.target.conn}
        ),
        default_args=DEFAULTS,
    ) as dag:
        before: SinewOperator = PlanOperator(
            task_id="plan", migration=migration.name, doc_md=_DOCS["plan"]
        )
        for phase in migration.phases:
            before = _PhaseBuilder(migration, phase).build(before)
    return dag


def _form(migration: Migration) -> dict[str, Param]:
    names = [phase.name for phase in migration.phases]
    return {
        "phases": Param(
            names,
            type="array",
            items={"type": "string", "enum": names},
            examples=names,
            minItems=1,
            uniqueItems=True,
            title="Phases",
            description="The phases to move in this run. What is done is not moved twice.",
        ),
        "batch_rows": Param(
            migration.batch.rows,
            type="integer",
            minimum=1,
            title="Rows in a batch",
            description="About; concerns phases that are not cut into batches yet.",
        ),
        "parallelism": Param(
            migration.parallelism,
            type="integer",
            minimum=1,
            maximum=64,
            title="Steps at once",
            description="Steps of this migration that work at the same time.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Explain the plan and audit both databases; write nothing.",
        ),
    }


@dataclass(frozen=True)
class BatchGroup:
    """One mapped task group: whose batches it takes, and which groups must be done before."""

    group_id: str
    entities: tuple[str, ...]
    after: tuple[str, ...]


def batch_groups(migration: Migration, phase: Phase) -> list[BatchGroup]:
    """A group for each entity; where those would be too many, for each level of foreign keys."""
    names = phase_entities(migration, phase.name)
    if sum(len(phase_entities(migration, each.name)) for each in migration.phases) <= _MOST_GROUPS:
        return [
            BatchGroup(name, (name,), tuple(p for p in migration.parents(name) if p in names))
            for name in names
        ]
    found: list[BatchGroup] = []
    for level in levels(migration):
        part = tuple(name for name in level if name in names)
        if part:
            after = (found[-1].group_id,) if found else ()
            found.append(BatchGroup(f"level_{len(found) + 1}", part, after))
    return found


class _PhaseBuilder:
    """Builds the task group of one phase."""

    def __init__(self, migration: Migration, phase: Phase) -> None:
        self.migration = migration
        self.phase = phase
        self.common: dict[str, Any] = {
            "migration": migration.name,
            "phase": phase.name,
            "trigger_rule": _UNLESS_FAILED,
        }

    def build(self, before: SinewOperator) -> SinewOperator:
        """Add the phase after ``before``; returns its last task."""
        with TaskGroup(self.phase.name, tooltip=_tooltip(self.migration, self.phase)):
            batches = BatchesOperator(task_id="batches", doc_md=_DOCS["batches"], **self.common)
            before >> self._approved(batches)
            settle = SettleOperator(task_id="settle", doc_md=_DOCS["settle"], **self.common)
            self._groups(batches) >> settle
            return self._end(batches, settle)

    def _approved(self, batches: BatchesOperator) -> Any:
        """The phase's first task."""
        if not self.phase.approval:
            return batches
        # Imported where a mapping asks for it: it costs a tenth of a second at every parse.
        from sinew.operators.approve import ApproveOperator

        approve = ApproveOperator(
            task_id="approve",
            subject=f"May phase {self.phase.name} of {self.migration.name} begin?",
            body=_approval_text(self.migration, self.phase),
            doc_md=_DOCS["approve"],
            # A refusal is an answer, not a fault: asked again, it would mean nothing.
            retries=0,
            **self.common,
        )
        approve >> batches
        return approve

    def _groups(self, batches: BatchesOperator) -> list[Any]:
        """The mapped groups, parents before children; returns all of them."""
        groups: dict[str, Any] = {}
        wanted = batch_groups(self.migration, self.phase)
        lists = self._lists(batches, wanted)
        for group in wanted:
            groups[group.group_id] = self._mapped(group, lists[group.group_id])
            for parent in group.after:
                groups[parent] >> groups[group.group_id]
        return list(groups.values())

    def _lists(
        self, batches: BatchesOperator, wanted: Sequence[BatchGroup]
    ) -> dict[str, ListOperator]:
        with TaskGroup("lists", tooltip="The batches of each group, by their ids"):
            lists = {
                group.group_id: ListOperator(
                    task_id=group.group_id,
                    entities=group.entities,
                    batches_task=batches.task_id,
                    doc_md=_DOCS["lists"],
                    **self.common,
                )
                for group in wanted
            }
        for each in lists.values():
            batches >> each
        return lists

    def _mapped(self, group: BatchGroup, ids: ListOperator) -> Any:
        common = self.common

        def steps(batch_id: Any) -> None:
            """Each batch in five steps."""
            previous = None
            for step in STEPS:
                # Inside a group only the first step may run after skipped tasks.
                rule: dict[str, str] = {} if previous is None else {"trigger_rule": "all_success"}
                task = StepOperator(
                    task_id=step,
                    step=step,
                    batch_id=batch_id,
                    map_index_template="{{ batch_title | default('batch ' ~ task.batch_id) }}",
                    doc_md=_DOCS[step],
                    **(common | rule),
                )
                if previous is not None:
                    previous >> task
                previous = task

        tooltip = f"Batches of {', '.join(group.entities)}"
        return task_group(group_id=group.group_id, tooltip=tooltip)(steps).expand(
            batch_id=ids.output
        )

    def _end(self, batches: BatchesOperator, settle: SettleOperator) -> SinewOperator:
        """From ``settle`` to the phase's last task."""
        entities = phase_entities(self.migration, self.phase.name)
        outlets = [entity_asset(self.migration.name, name) for name in entities]
        reconcile = ReconcileOperator(
            task_id="reconcile", doc_md=_DOCS["reconcile"], outlets=outlets, **self.common
        )
        report = ReportOperator(
            task_id="report",
            batches_task=batches.task_id,
            doc_md=_DOCS["report"],
            **(self.common | {"trigger_rule": "all_done"}),
        )
        complete = CompleteOperator(task_id="complete", doc_md=_DOCS["complete"], **self.common)
        last = self._swapped(reconcile)
        settle >> reconcile
        last >> report >> complete
        # The report always succeeds, so what failed must stop the phase by itself.
        last >> complete
        return complete

    def _swapped(self, reconcile: ReconcileOperator) -> SinewOperator:
        if self.migration.strategy != "big_bang" or self.phase != self.migration.phases[-1]:
            return reconcile
        swap = SwapOperator(task_id="swap", doc_md=_DOCS["swap"], **self.common)
        reconcile >> swap
        return swap


def _tooltip(migration: Migration, phase: Phase) -> str:
    root = migration.cohort.root if migration.cohort else ""
    return f"{root} where {phase.where}" if phase.where else "all that is left"


def _approval_text(migration: Migration, phase: Phase) -> str:
    at = migration.phases.index(phase)
    told = f"**{phase.name}**: {_tooltip(migration, phase)}."
    if at:
        earlier = migration.phases[at - 1].name
        told += f"\n\nThe report of phase {earlier} opens from its task `{earlier}.report`."
    return f"{told}\n\nReject stops the run; nothing of this phase is moved."


_DOCS = STEP_DOCS | {
    "plan": "Audits both databases and makes the mapping the active one. Everything that is wrong "
    "is told at once, before a row moves. Its log has the plan in plain words.",
    "approve": "Waits until a person answers under *Required actions*. Who answered what is kept "
    "in `sinew.approval`.",
    "batches": "Cuts the phase into batches. A batch that is done is not listed again.",
    "lists": "Batch ids of one group; the rows themselves never pass through Airflow.",
    "settle": "Fills references whose parents came after their children.",
    "reconcile": "Compares source, row ledger and target row by row; runs the business checks.",
    "swap": "Exchanges the live tables with their proved shadows, in one transaction.",
    "report": "Writes the phase's report, whether it went well or not: see the button *Report* under Details.",
    "complete": "Fails unless the ledger says that the phase is complete.",
}
