"""What Airflow adds: the same migration under a real Airflow and without one."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import psycopg

from demo.stack import Stack
from tests.bench.table import MAPPING, forget, make_target

TABLE = "big6"
_WAIT_SECONDS = 1200


def prepare_include(folder: Path, batch_rows: int) -> None:
    """An include folder with the benchmark's mapping alone."""
    mappings = folder / "mappings" / "migrations"
    mappings.mkdir(parents=True, exist_ok=True)
    text = MAPPING.format(name=f"bench_{TABLE}", table=TABLE, rows=batch_rows)
    (mappings / f"bench_{TABLE}.yaml").write_text(text, encoding="utf-8")
    os.environ["SINEW_INCLUDE"] = str(folder)


def run_under_airflow(stack: Stack) -> float:
    """Seconds of one DAG run, from its start to its end as Airflow has them."""
    with psycopg.connect(stack.dsn("commerce"), autocommit=True) as home:
        forget(home)
        make_target(home, TABLE)
    dag = f"/api/v2/dags/migrate__bench_{TABLE}"
    _until(lambda: bool(_maybe(stack, dag)), "the DAG appears")
    run = stack.airflow.api("POST", f"{dag}/dagRuns", {"logical_date": None})
    path = f"{dag}/dagRuns/{run['dag_run_id']}"
    _until(lambda: stack.airflow.api("GET", path)["state"] in ("success", "failed"), "the run ends")
    done = stack.airflow.api("GET", path)
    if done["state"] != "success":
        raise RuntimeError(f"the run {run['dag_run_id']} failed: look at it on {stack.airflow.url}")
    return (_moment(done["end_date"]) - _moment(done["start_date"])).total_seconds()


def _maybe(stack: Stack, path: str) -> object:
    try:
        return stack.airflow.api("GET", path)
    except Exception:  # not there yet
        return None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _until(ready: object, what: str) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        if ready():  # type: ignore[operator]
            return
        time.sleep(1)
    raise RuntimeError(f"waited {_WAIT_SECONDS} s in vain until {what}")
