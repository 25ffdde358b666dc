"""Drive one run of a sync without Airflow: the same steps, in the same order, from one process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sinew.engine.planner import prepare
from sinew.engine.steps import STEPS, Context, run_step
from sinew.engine.windows import EntityRows, complete_window, plan_window


def run_sync(
    context: Context,
    lower: datetime | None,
    upper: datetime,
    run_id: str,
    *,
    ask: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, EntityRows]:
    """Read, check and load one window, ``lower`` inclusive, ``upper`` exclusive; returns rows by entity."""
    for note in prepare(context).notes:
        tell(note)
    for entity, batch in plan_window(context, lower, upper, run_id, ask=ask).items():
        tell(f"{entity}: batch {batch}")
        for step in STEPS:
            run_step(context, batch, step)
    return complete_window(context, run_id)
