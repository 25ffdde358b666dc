"""The task that waits until a person lets a phase begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

from sinew.operators.base import Form, airflow_errors, engine_context

if TYPE_CHECKING:
    from airflow.sdk import Context as AirflowContext


class ApproveOperator(ApprovalOperator):
    """Ask in the Airflow UI, and keep who answered what in the ledger; a refusal stops the run.

    It must fail on a refusal: what follows runs after skipped tasks, so skipping would let it load.
    """

    ui_color: str = "#fde9b8"

    def __init__(self, *, migration: str, phase: str, **kwargs: Any) -> None:
        super().__init__(fail_on_reject=True, **kwargs)
        self.migration = migration
        self.phase = phase

    def execute(self, context: AirflowContext) -> Any:
        """Ask, unless the form left the phase out or it is complete already."""
        form = Form.of(context["params"])
        if not form.moves(self.phase):
            raise AirflowSkipException(
                f"Nothing to approve: phase {self.phase} does not move in this run"
            )
        with airflow_errors():
            from sinew.engine.phases import nothing_to_do

            if nothing_to_do(engine_context(self.migration, form), self.phase):
                raise AirflowSkipException(f"Nothing to approve: phase {self.phase} is complete")
        return super().execute(context)

    def execute_complete(self, context: AirflowContext, event: dict[str, Any]) -> Any:
        """Write the answer down before it takes effect."""
        if "error" not in event:
            self._record(context, event)
        return super().execute_complete(context, event)

    def _record(self, context: AirflowContext, event: dict[str, Any]) -> None:
        from sinew.engine.phases import record_approval

        user = event.get("responded_by_user") or {}
        person = str(user.get("name") or user.get("id") or "nobody: the time-out's default")
        decision = ", ".join(event["chosen_options"])
        with airflow_errors():
            engine = engine_context(self.migration)
            record_approval(engine, self.phase, str(context["run_id"]), person, decision)
        self.log.info("%s by %s", decision, person)
