"""History: a raw binary COPY pipe as the limit, then the five steps of Sinew over the same table."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from resource import RUSAGE_SELF, getrusage

import psycopg
from psycopg import sql

from sinew.engine.extract import pump
from sinew.engine.planner import plan_phase, prepare
from sinew.engine.prove import prove_phase
from sinew.engine.session import Endpoint
from sinew.engine.steps import STEPS, Context, run_step
from sinew.spec.reader import parse_mapping
from tests.bench.table import MAPPING, forget, make_target


def raw_copy(source: str, target: str, table: str, *, buffered: bool = False) -> float:
    """Seconds of one COPY pipe from source to an empty target table with its primary key.

    The plain loop over rows, as psycopg's documentation has it; ``buffered`` is the extract's own pump.
    """
    name = sql.Identifier("bench", table)
    with (
        psycopg.connect(source, autocommit=True) as old,
        psycopg.connect(target, autocommit=True) as new,
    ):
        make_target(new, table)
        new.execute("CHECKPOINT")
        began = time.monotonic()
        with (
            new.transaction(),
            old.cursor().copy(
                sql.SQL("COPY {} TO STDOUT (FORMAT BINARY)").format(name)
            ) as outgoing,
            new.cursor().copy(
                sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(name)
            ) as incoming,
        ):
            if buffered:
                pump(outgoing, incoming)
            else:
                for chunk in outgoing:
                    incoming.write(chunk)
        return time.monotonic() - began


def context(source: str, target: str, table: str, batch_rows: int) -> Context:
    """The benchmark's migration of one table."""
    text = MAPPING.format(name=f"bench_{table}", table=table, rows=batch_rows)
    migration = parse_mapping(text)
    return Context(migration, Endpoint("legacy_retail", source), Endpoint("commerce", target))


def whole(context: Context) -> tuple[float, dict[str, float], float, float]:
    """Move and prove everything with every check on.

    Returns seconds from the first batch to the last, seconds of each step summed over the batches, seconds of the
    final comparison, and the peak memory of a worker process in MB.
    """
    with psycopg.connect(context.home.conninfo, autocommit=True) as home:
        forget(home)
        make_target(home, next(iter(context.migration.entities)))
    prepare(context)
    # Worker processes, as under Airflow; spawned, so that none inherits this one's memory. Their start is counted
    # in Airflow's share.
    with ProcessPoolExecutor(context.lanes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_wait, [0.5] * context.lanes))
        began = time.monotonic()
        (batches,) = plan_phase(context, "all").values()
        peaks = list(pool.map(_whole_way, [context] * len(batches), batches))
        moved = time.monotonic() - began
    began = time.monotonic()
    prove_phase(context, "all")
    return moved, _step_seconds(context), time.monotonic() - began, max(peaks)


def _wait(seconds: float) -> None:
    """A worker's first work: long enough that each process of the pool gets one."""
    time.sleep(seconds)


def _whole_way(context: Context, batch_id: int) -> float:
    for step in STEPS:
        run_step(context, batch_id, step)
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def _step_seconds(context: Context) -> dict[str, float]:
    with psycopg.connect(context.home.conninfo) as home:
        rows = home.execute(
            "SELECT t.key, sum(t.value::float8) FROM sinew.batch, jsonb_each_text(timings) AS t GROUP BY 1"
        ).fetchall()
    return {step: float(seconds) for step, seconds in rows}
