"""Which of two readings knows more: the one that began later, whichever is loaded first."""

from __future__ import annotations

import psycopg

from sinew.compile.entity_plan import EntityPlan
from sinew.engine.batch import Batch
from sinew.errors import OvertakenError
from sinew.paths import statement
from sinew.spec.sync import Sync


def refuse_overtaken(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Raise OvertakenError when what the batch has read would turn rows back that a later reading has brought.

    As when a run that failed is taken up after the next one has run. Rows with a moment are judged one by one
    instead, and a window holds what no other does.
    """
    if not _judged_whole(plan):
        return
    if home.execute(statement("sync/overtaken"), {"id": batch.id}).fetchone() == (True,):
        raise OvertakenError(
            f"load {batch.title}: a later run, which has read later, is loaded already; the batch is read again"
        )


def _judged_whole(plan: EntityPlan) -> bool:
    sync = plan.migration
    if not isinstance(sync, Sync):
        return False
    scope = sync.scope_of(plan.entity.name)
    return scope == "full" or scope == "since" and plan.watermark is None
