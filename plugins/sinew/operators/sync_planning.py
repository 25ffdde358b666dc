"""The first task of a sync's run: which window it takes, and its batches."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sinew.errors import ConfigurationError
from sinew.explain_sync import explain_sync
from sinew.operators.sync_base import SyncOperator, SyncRun

if TYPE_CHECKING:
    from sinew.spec.sync import Sync

# Runs whose window is the data interval that the schedule gives them.
_BY_SCHEDULE = ("scheduled", "backfill")


class SyncPlanOperator(SyncOperator):
    """Audit both ends, make the mapping the active one, and open the run's window."""

    ui_color: str = "#d8e6f3"

    def work(self, run: SyncRun) -> dict[str, Any]:
        """Plan; returns the run's name in the ledger, its window, and each entity's batch id."""
        from sinew.engine.planner import prepare
        from sinew.engine.windows import plan_window

        run_type = _run_type(run)
        refuse_backfill(run.sync, run_type)
        for line in explain_sync(run.sync).splitlines():
            self.log.info("%s", line)
        lower, upper = _window(run, run_type)
        for note in prepare(run.engine).notes:
            self.log.info("Note: %s", note)
        batches = plan_window(run.engine, lower, upper, run.run_id, ask=run.form.ask_again)
        self.log.info("Window %s to %s: batches %s", lower or "the beginning", upper, batches)
        return {
            "run": run.run_id,
            "from": lower.isoformat() if lower else None,
            "to": upper.isoformat(),
            "batches": batches,
        }


def _run_type(run: SyncRun) -> str:
    found = run.airflow["dag_run"].run_type
    return str(getattr(found, "value", found))


def refuse_backfill(sync: Sync, run_type: str) -> None:
    """A sync that reads what is new since its last run cannot read a time that has passed."""
    if run_type == "backfill" and not sync.backfills:
        since = [name for name in sync.entities if sync.scope_of(name) == "since"]
        raise ConfigurationError(
            f"{', '.join(since)} of {sync.name} is read since the last run, so no backfill can bring an earlier "
            "time back: trigger a run, which reads what is new; to read by windows, change the mapping"
        )


def _window(run: SyncRun, run_type: str) -> tuple[datetime | None, datetime]:
    """The run's data interval where a schedule made it; else what the form says."""
    from sinew.engine.window_choice import chosen_window, moment_of
    from sinew.engine.window_status import last_window_end

    dag_run = run.airflow["dag_run"]
    lower, upper = dag_run.data_interval_start, dag_run.data_interval_end
    if run_type in _BY_SCHEDULE and lower is not None and upper is not None:
        return lower, upper
    return chosen_window(
        run.sync,
        moment_of(run.form.lower, "from"),
        moment_of(run.form.upper, "to"),
        partial(last_window_end, run.engine.home, run.sync.name),
    )
