"""Tasks that decide what is to be done: plan, batches, and the list of each mapped group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowException

from sinew.errors import ConfigurationError
from sinew.explain import explain
from sinew.operators.base import Form, Run, SinewOperator, airflow_errors


class PlanOperator(SinewOperator):
    """Audit both databases and make the mapping the active one; tells all that is wrong at once.

    A dry run writes nothing: the plan in plain words is in this task's log.
    """

    ui_color: str = "#d8e6f3"

    def work(self, run: Run) -> dict[str, str]:
        """Plan; returns the plan's fingerprint."""
        from sinew.engine.phases import require_earlier_phases
        from sinew.engine.planner import prepare

        for line in explain(run.engine.migration).splitlines():
            self.log.info("%s", line)
        found = prepare(run.engine, dry_run=run.form.dry_run)
        for note in found.notes:
            self.log.info("Note: %s", note)
        if not run.form.dry_run:
            require_earlier_phases(run.engine, run.form.phases)
        self.log.info("Plan %s%s", found.fingerprint, " (dry run)" if run.form.dry_run else "")
        return {"fingerprint": found.fingerprint}


class BatchesOperator(SinewOperator):
    """Cut a phase into batches; returns those still to be done, their ids by entity."""

    ui_color: str = "#d8e6f3"

    def left_out(self, form: Form) -> dict[str, list[int]]:
        """No batches: the groups of this phase are empty."""
        self.log.info("No batches: %s", "a dry run" if form.dry_run else "the phase was not chosen")
        return {}

    def work(self, run: Run) -> dict[str, list[int]]:
        """Plan the phase's batches."""
        from sinew.engine.planner import plan_phase

        assert self.phase is not None
        batches = plan_phase(run.engine, self.phase, run.form.batch_rows)
        for entity, ids in batches.items():
            self.log.info("%s: %s batches to do", entity, len(ids))
        return batches


class ListOperator(SinewOperator):
    """The batch ids of one mapped group. Airflow maps a group over one task's whole result only."""

    ui_color: str = "#eef3f8"

    def __init__(self, *, entities: Sequence[str], batches_task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entities = list(entities)
        self.batches_task = batches_task

    def execute(self, context: Any) -> list[int]:
        """Pick the entities' ids out of all the phase's; touches no database."""
        found = context["ti"].xcom_pull(task_ids=self.batches_task)
        if found is None:
            raise AirflowException(
                f"{self.batches_task} left no batches: clear it together with this"
            )
        ids = [id_ for entity in self.entities for id_ in found.get(entity, [])]
        with airflow_errors():
            require_mappable(self.entities, len(ids))
        return ids


def require_mappable(entities: Sequence[str], count: int) -> None:
    """Refuse more batches than Airflow maps a task over, with the setting that allows them."""
    from airflow.sdk import conf

    most = conf.getint("core", "max_map_length")
    if count > most:
        raise ConfigurationError(
            f"{', '.join(entities)}: {count} batches, Airflow maps over {most} at most: set "
            f"[core] max_map_length to {count} or more, or make batches larger at the first run "
            f"(batch.rows, times {-(-count // most)} or more)"
        )
