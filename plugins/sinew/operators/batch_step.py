"""One step of one batch, or of each batch that a mapped task was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sinew.operators.base import Run, SinewOperator

COLORS = {
    "extract": "#e8f1e4",
    "transform": "#dcebd5",
    "check": "#f6e7c1",
    "load": "#cfe3c4",
    "validate": "#bfd9b0",
}


class StepOperator(SinewOperator):
    """Bring one batch through one of extract, transform, check, load, validate."""

    template_fields: Sequence[str] = ("batch_id",)

    def __init__(self, *, step: str, batch_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.batch_id = batch_id
        self.ui_color = COLORS[step]

    def work(self, run: Run) -> None:
        """Run the step; what it found is in the ledger, a line of it in the log."""
        from sinew.engine.steps import run_step

        batch = run_step(run.engine, int(self.batch_id), self.step)
        run.airflow["batch_title"] = f"{batch.entity} batch {batch.id}"  # type: ignore[typeddict-unknown-key]
        self.log.info(
            "%s: %s; rows read %s, staged %s, rejected %s",
            batch.title,
            batch.state,
            batch.source_rows,
            batch.staged_rows,
            batch.rejected_rows,
        )
