"""Mappings of syncs to Airflow DAGs.

    plan → for each entity, parents first: extract → transform → check → load → validate → complete

One batch per entity and run, so nothing is mapped. An entity waits for those that it refers to and for nobody
else; ``complete`` waits for all, and alone tells of new rows by assets.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

from sinew.dagparts import DEFAULTS, STEP_DOCS, STEPS
from sinew.explain_sync import explain_sync
from sinew.hooks.mappings import read_sync, read_syncs
from sinew.operators.proving import entity_asset
from sinew.operators.sync_ending import SyncCompleteOperator
from sinew.operators.sync_planning import SyncPlanOperator
from sinew.operators.sync_step import SyncStepOperator
from sinew.spec.cron import window_start
from sinew.spec.sync import Schedule, Sync

PREFIX = "sync__"
# Every way to start a run but `airflow backfill create`.
_NO_BACKFILL = (
    "scheduled",
    "manual",
    "operator_triggered",
    "asset_triggered",
    "asset_materialization",
)


def build_syncs(only: str | None = None) -> dict[str, DAG]:
    """A DAG for each mapping, by dag id; just that of the id ``only``, if it is one of ours.

    Raises one SpecError with the problems of all files.
    """
    if only is None:
        return {PREFIX + name: build_dag(sync) for name, sync in read_syncs().items()}
    if not only.startswith(PREFIX):
        return {}
    return {only: build_dag(read_sync(only.removeprefix(PREFIX)))}


def build_dag(sync: Sync) -> DAG:
    """The DAG of one sync; the same for the same mapping, wherever it is built."""
    ends = {sync.source.api or sync.source.conn, sync.target.api or sync.target.conn}
    with DAG(
        dag_id=PREFIX + sync.name,
        description=sync.description or f"Sync {sync.name}",
        doc_md=explain_sync(sync),
        catchup=sync.schedule.catchup,
        max_active_runs=sync.schedule.max_active_runs,
        params=_form(sync),
        tags=sorted({"sync", *ends}),
        default_args=DEFAULTS,
        **_when(sync),
    ) as dag:
        _tasks(sync)
    return dag


def _when(sync: Sync) -> dict[str, Any]:
    """The schedule, the first moment that Airflow may make a run for, and which kinds of runs there may be."""
    kinds = {} if sync.backfills else {"allowed_run_types": _NO_BACKFILL}
    return _trigger(sync.schedule) | kinds


def _trigger(schedule: Schedule) -> dict[str, Any]:
    if schedule.cron and schedule.start:
        # A plain cron string would give intervals without length, and so windows without rows.
        timetable = CronDataIntervalTimetable(schedule.cron, timezone=schedule.timezone)
        # Airflow begins with the first moment after the start date, and would leave out what lies before it.
        first = pendulum.instance(window_start(schedule.cron, schedule.start), tz=schedule.timezone)
        return {"schedule": timetable, "start_date": first}
    if schedule.after:
        return {"schedule": [_asset(name) for name in schedule.after]}
    return {"schedule": None}


def _asset(name: str) -> Any:
    pipeline, _, entity = name.partition(".")
    return entity_asset(pipeline, entity)


def _form(sync: Sync) -> dict[str, Param]:
    bounded = "windows" if sync.backfills else "what is new since the last run"
    form = {
        "from": _moment(
            "From",
            "Beginning of the window, inclusive. Empty: where the last complete window ends. Of a run by the "
            f"schedule or a backfill, the data interval counts instead. This sync reads {bounded}.",
        ),
        "to": _moment("To", "End of the window, exclusive. Empty: now."),
        "ask_again": Param(
            True,
            type="boolean",
            title="Ask the API again",
            description="If not, the answers that an earlier run over the same window got are transformed "
            "again; what was not kept is asked for.",
        ),
    }
    return form


def _moment(title: str, description: str) -> Param:
    return Param(
        None, type=["null", "string"], format="date-time", title=title, description=description
    )


def _tasks(sync: Sync) -> None:
    plan = SyncPlanOperator(task_id="plan", sync=sync.name, doc_md=_DOCS["plan"])
    groups: dict[str, TaskGroup] = {}
    for name in sync.entity_order:
        groups[name] = _steps(sync, name)
        plan >> groups[name]
        for parent in sync.parents(name):
            groups[parent] >> groups[name]
    complete = SyncCompleteOperator(
        task_id="complete",
        sync=sync.name,
        doc_md=_DOCS["complete"],
        outlets=[entity_asset(sync.name, name) for name in sync.entity_order],
    )
    for group in groups.values():
        group >> complete


def _steps(sync: Sync, entity: str) -> TaskGroup:
    docs = (
        STEP_DOCS | (_API_SOURCE if sync.reads_api else {}) | (_API_TARGET if sync.delivers else {})
    )
    with TaskGroup(entity, tooltip=f"The run's batch of {entity}") as group:
        previous = None
        for step in STEPS:
            task = SyncStepOperator(
                task_id=step, step=step, entity=entity, sync=sync.name, doc_md=docs[step]
            )
            if previous is not None:
                previous >> task
            previous = task
    return group


_DOCS = {
    "plan": "Audits both ends, makes the mapping the active one, and opens the run's window. A run by the "
    "schedule or a backfill covers its data interval, any other what the form says. Cleared, it reads anew.",
    "complete": "Closes the window when all its batches are validated, writes down how far the sync has read, and "
    "wakes the DAGs that wait for these entities.",
}
_API_SOURCE = {
    "extract": "API → home database: the answers are kept as they came, page by page; a reading that was cut "
    "off goes on. Then the entity's records, one row each, into landing.",
}
_API_TARGET = {
    "load": "Staging → API: what changed since the last acknowledgement, each row with a receipt in "
    "`sinew.receipt`; impossible without a passed gate.",
    "validate": "Every change is accounted for by receipts and, where the mapping says how, looked up and compared.",
}
