"""One step of the batch that a sync's run has for an entity."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from sinew.operators.batch_step import COLORS
from sinew.operators.sync_base import SyncOperator, SyncRun


class SyncStepOperator(SyncOperator):
    """Bring the entity's batch through one of extract, transform, check, load, validate."""

    def __init__(self, *, step: str, entity: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.entity = entity
        self.ui_color = COLORS[step]

    def work(self, run: SyncRun) -> None:
        """Run the step; what it found is in the ledger, a line of it in the log."""
        from sinew.engine.steps import run_step

        batch = run_step(run.engine, planned(run)["batches"][self.entity], self.step)
        self.log.info(
            "%s: %s; rows read %s, staged %s, rejected %s",
            batch.title,
            batch.state,
            batch.source_rows,
            batch.staged_rows,
            batch.rejected_rows,
        )


def planned(run: SyncRun) -> dict[str, Any]:
    """What the run's task `plan` returned."""
    found: dict[str, Any] | None = run.airflow["ti"].xcom_pull(task_ids="plan")
    if found is None:
        raise AirflowFailException("Task `plan` left no batches: clear it together with this")
    return found
