"""A batch's way, step by step: whatever was killed and whenever, running a step again brings it there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from sinew.compile.entity_plan import EntityPlan
from sinew.compile.table_sql import landing_table, staging_table
from sinew.engine.batch import LANE_LOCK, Batch, claim, get_batch, held, note_failure, set_state
from sinew.engine.check import check, current_contract_fingerprint, last_contract_fingerprint
from sinew.engine.extract import extract, extract_records
from sinew.engine.fetch import ask_again, ask_anew, fetched
from sinew.engine.ledger import planned, require_active
from sinew.engine.load import load
from sinew.engine.session import Endpoint, connect, translated
from sinew.engine.transform import transform
from sinew.engine.validate import validate
from sinew.errors import ConfigurationError, InputLostError, OvertakenError, SinewError
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import SyncEntity

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

STEPS = ("extract", "transform", "check", "load", "validate")
# How far a batch is in each state: the number of steps done.
_DONE = {
    "planned": 0,
    "stale": 0,
    "mismatched": 0,
    "extracted": 1,
    "transformed": 2,
    "gate_failed": 2,
    "checked": 3,
    "loaded": 4,
    "validated": 5,
}
# A batch that loses its input again and again has another cause than a crash.
_MOST_RESTARTS = 3


# Must survive pickling: worker processes get it.
OpenApi = Callable[[], "requests.Session"]


@dataclass(frozen=True)
class Context:
    """What the steps of one pipeline work with.

    Where an API is read or written, ``open_api`` opens a session for it; ``source`` is then, for a reading,
    the home database, where the records land.
    """

    migration: Pipeline
    source: Endpoint
    home: Endpoint
    parallelism: int | None = None
    open_api: OpenApi | None = None

    @property
    def lanes(self) -> int:
        """Steps of this migration that may work at once."""
        return self.parallelism or self.migration.parallelism


def run_step(context: Context, batch_id: int, step: str) -> Batch:
    """Bring one batch at least through ``step``; earlier steps whose result is gone are done again.

    Idempotent: a batch that is further already is left alone.
    """
    doing = f"{step} {context.migration.name} batch {batch_id}"
    # The border of errors is around locks and claims too: a connection may break at any statement.
    with connect(context.home, step=step, doing=doing) as home, translated(doing):
        require_active(home, context.migration)
        if context.lanes > 1:
            # Lanes are what works side by side: a lane's parallel workers would take the others' processors.
            home.execute("SET max_parallel_workers_per_gather = 0")
        with lane(home, context), held(home, batch_id) as batch:
            try:
                _bring(context, home, batch, STEPS.index(step) + 1)
            except SinewError as error:
                if not home.closed and not home.broken:
                    note_failure(home, batch, str(error))
                raise
        return get_batch(home, batch_id)


def _bring(context: Context, home: psycopg.Connection, batch: Batch, goal: int) -> None:
    plan = _plan_of(context, home, batch)
    batch = _reopen(home, context, plan, batch, goal)
    restarts = 0
    while _DONE[batch.state] < goal:
        try:
            _next(context, home, plan, batch)
        except InputLostError as error:
            restarts += 1
            if restarts > _MOST_RESTARTS:
                raise
            log.warning("%s", error)
            if isinstance(error, OvertakenError):
                ask_anew(home, batch.id)
            set_state(home, batch, "planned")
            # The gate keeps one verdict for each attempt, and the batch is judged once more.
            claim(home, batch.id)
        batch = get_batch(home, batch.id)


def _plan_of(context: Context, home: psycopg.Connection, batch: Batch) -> EntityPlan:
    found = planned(home, context.migration, batch.entity)
    if batch.state == "stale" or found.fingerprint != batch.entity_fingerprint:
        raise ConfigurationError(f"{batch.title} belongs to an earlier plan: start a new run")
    return found.plan


def _reopen(
    home: psycopg.Connection, context: Context, plan: EntityPlan, batch: Batch, goal: int
) -> Batch:
    """A batch that failed its gate is judged again when its contract changed, else read again: data was mended."""
    if batch.state != "gate_failed" or goal > STEPS.index("check") + 1:
        return batch
    changed = current_contract_fingerprint(plan) != last_contract_fingerprint(home, batch)
    if not changed:
        ask_again(home, batch.window_id)
        set_state(home, batch, "planned")
    return get_batch(home, batch.id)


def _next(context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Do the one step that the batch's state asks for."""
    done = _DONE[batch.state]
    if done == 0 and plan.from_api:
        _extract_records(context, home, plan, batch)
        return
    if done == 0:
        doing = f"extract {batch.title}"
        with connect(context.source, read_only=True, step="extract", doing=doing) as source:
            extract(source, home, plan, batch)
        return
    table = landing_table(batch.id) if done == 1 else staging_table(batch.id)
    if done < 4 and home.execute("SELECT to_regclass(%s)", (table.as_string(None),)).fetchone() == (
        None,
    ):
        raise InputLostError(
            f"{batch.title}: the table that the last step left is gone; the batch is read again"
        )
    if done == 1:
        transform(home, plan, batch)
    elif done == 2:
        check(context.home, home, plan, batch)
    elif plan.delivers:
        _deliver(context, home, plan, batch, done)
    elif done == 3:
        load(home, plan, batch)
    else:
        validate(home, plan, batch)


def _deliver(
    context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch, done: int
) -> None:
    # What speaks HTTP is loaded only where something is sent.
    from sinew.engine.deliver import load_delivery
    from sinew.engine.read_back import validate_delivery

    (load_delivery if done == 3 else validate_delivery)(context, home, plan, batch)


def _extract_records(
    context: Context, home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> None:
    began = time.monotonic()
    assert isinstance(plan.entity, SyncEntity) and batch.window_id is not None
    resource = plan.entity.source.resource
    assert resource is not None
    extract_records(home, plan, batch, fetched(context, home, batch.window_id, resource), began)


@contextmanager
def lane(home: psycopg.Connection, context: Context) -> Iterator[None]:
    """One of the migration's lanes; waits while all of them are taken.

    Lanes are advisory locks rather than Airflow's limits because a run's own form sets their number.
    """
    taken = _take_lane(home, context)
    try:
        yield
    finally:
        if not home.closed and not home.broken:
            home.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (LANE_LOCK, taken))


def _take_lane(home: psycopg.Connection, context: Context) -> str:
    names = [f"{context.migration.name}/{i}" for i in range(context.lanes)]
    while True:
        for name in names:
            if home.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (LANE_LOCK, name)
            ).fetchone() == (True,):
                return name
        time.sleep(0.2)
