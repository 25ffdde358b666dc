"""One run of the migration in Airflow: started or joined, watched, and asked why it failed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import psycopg

from demo.show.errors import DemoError
from demo.show.ledger import MIGRATION, batch_error, phases
from demo.show.progress import Screen, Snapshot
from demo.stack import StackError

DAG = f"migrate__{MIGRATION}"
_BASE = f"/api/v2/dags/{DAG}"
_ACTIVE = "state=queued&state=running"
_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
# A parse takes a few seconds; on a machine that is busy starting Airflow, many more.
_DAG_SECONDS = 180
# Servers that were killed are back within this time, or they are not coming back.
_PATIENCE = 120
_BATCH = re.compile(r"\bbatch (\d+)$")


class Airflow(Protocol):
    """What the demo needs of a running Airflow."""

    @property
    def url(self) -> str:
        """Where the UI is."""

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the REST API; raises StackError."""


@dataclass(frozen=True)
class Failure:
    """A task that failed: its name, the log's or the ledger's words, and its page."""

    task: str
    message: str
    url: str


class Run:
    """One run of the migration's DAG."""

    def __init__(self, airflow: Airflow, run_id: str, joined: bool) -> None:
        self.airflow = airflow
        self.run_id = run_id
        self.joined = joined
        self._path = f"{_BASE}/dagRuns/{quote(run_id, safe='')}"

    @property
    def url(self) -> str:
        """The run's page."""
        return f"{self.airflow.url}/dags/{DAG}/runs/{quote(self.run_id, safe='')}"

    def state(self) -> str:
        """Airflow's word for it: queued, running, success or failed."""
        return str(self.airflow.api("GET", self._path)["state"])

    def fail(self) -> None:
        """End it; what its tasks have committed stays."""
        self.airflow.api("PATCH", self._path, {"state": "failed"})

    def _tasks(self, *states: str, limit: int = 1) -> dict[str, Any]:
        chosen = "".join(f"&state={state}" for state in states)
        found = self.airflow.api("GET", f"{self._path}/taskInstances?limit={limit}{chosen}")
        return dict(found)

    def working(self) -> list[str]:
        """The tasks that run now, as `phase.entity.step`."""
        return sorted(
            task["task_id"] for task in self._tasks("running", limit=10)["task_instances"]
        )

    def counts(self) -> tuple[int, int]:
        """All tasks that are known so far, and those that have ended."""
        return self._tasks()["total_entries"], self._tasks(*_ENDED)["total_entries"]

    def failures(self, home: psycopg.Connection) -> list[Failure]:
        """The tasks that failed by themselves; those that had to wait for them are not listed."""
        found = self._tasks("failed", limit=100)["task_instances"]
        return [self._failure(home, task) for task in found]

    def _failure(self, home: psycopg.Connection, task: Any) -> Failure:
        mapped = task["map_index"] >= 0
        at = f"/mapped/{task['map_index']}" if mapped else ""
        title = task.get("rendered_map_index") or ""
        batch = _BATCH.search(title) if mapped else None
        message = batch_error(home, int(batch[1])) if batch else None
        return Failure(
            f"{task['task_id']} ({title})" if title else task["task_id"],
            message or self._logged(task) or "its log has no error; open its page",
            f"{self.url}/tasks/{task['task_id']}{at}",
        )

    def _logged(self, task: Any) -> str:
        path = (
            f"{self._path}/taskInstances/{quote(task['task_id'])}/logs/{task['try_number']}"
            f"?full_content=true&map_index={task['map_index']}"
        )
        try:
            content = self.airflow.api("GET", path)["content"]
        except StackError as error:
            return f"its log cannot be read: {error}"
        return last_error(content)


def last_error(content: Any) -> str:
    """The last error in a task's log, as Airflow's API gives it: a text, or a list of events."""
    if isinstance(content, str):
        return content[-1000:]
    errors = [e for e in content if isinstance(e, dict) and e.get("level") in ("error", "critical")]
    for event in reversed(errors):
        details = event.get("error_detail") or []
        if details:
            first = details[0]
            return f"{first.get('exc_type')}: {first.get('exc_value')}"
    return str(errors[-1].get("event", "")) if errors else ""


def wait_for_dag(airflow: Airflow) -> None:
    """Wait until Airflow knows the migration, and take it out of pause."""
    dag = _until(lambda: _found(airflow), _DAG_SECONDS, airflow)
    if dag["has_import_errors"]:
        raise DemoError(f"Airflow cannot read {DAG}: {_import_errors(airflow)}")
    if dag["is_paused"]:
        airflow.api("PATCH", _BASE, {"is_paused": False})


def _found(airflow: Airflow) -> Any:
    try:
        return airflow.api("GET", _BASE)
    except StackError as error:
        if " 404" not in str(error):
            raise
        return None


def _until(ask: Callable[[], Any], seconds: float, airflow: Airflow) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None:
            return answer
        if time.monotonic() > deadline:
            raise DemoError(
                f"Airflow does not know {DAG} after {seconds:.0f} s. "
                f"{_import_errors(airflow) or 'Look at the log of its dag-processor.'}"
            )
        time.sleep(2)


def _import_errors(airflow: Airflow) -> str:
    errors = airflow.api("GET", "/api/v2/importErrors")["import_errors"]
    return "\n".join(f"{e['filename']}: {e['stack_trace'].strip()[-1500:]}" for e in errors)


def active_runs(airflow: Airflow) -> list[Run]:
    """Runs that are queued or at work, the oldest first."""
    found = airflow.api("GET", f"{_BASE}/dagRuns?{_ACTIVE}&order_by=run_after")["dag_runs"]
    return [Run(airflow, run["dag_run_id"], True) for run in found]


def end_active_runs(airflow: Airflow) -> None:
    """End all runs, and wait until none of their tasks is at work."""
    for run in active_runs(airflow):
        run.fail()
        _until(lambda run=run: None if run.working() else True, _PATIENCE, airflow)  # type: ignore[misc]


def start_or_join(airflow: Airflow) -> Run:
    """The run that is at work, or a new one of all phases."""
    running = active_runs(airflow)
    if running:
        return running[0]
    body = {"logical_date": None, "note": "Started by the demo."}
    run_id = airflow.api("POST", f"{_BASE}/dagRuns", body)["dag_run_id"]
    return Run(airflow, run_id, False)


def watch(run: Run, home_dsn: str, total: int, screen: Screen, poll: float = 2.0) -> str:
    """Show the run until it ends; returns its last state. Servers may go and come back meanwhile."""
    began, silent_since = time.monotonic(), None
    for _ in _every(poll):
        try:
            state = run.state()
            screen.show(_snapshot(run, home_dsn, total, time.monotonic() - began))
        except (StackError, psycopg.OperationalError):
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _PATIENCE:
                raise
            continue
        silent_since = None
        if state in ("success", "failed"):
            return state
    raise AssertionError("the loop above has no end")


def _every(seconds: float) -> Iterator[None]:
    while True:
        yield
        time.sleep(seconds)


def _snapshot(run: Run, home_dsn: str, total: int, elapsed: float) -> Snapshot:
    tasks, done = run.counts()
    # A connection a look: whatever happens to the server, the next look finds it again.
    with psycopg.connect(home_dsn, autocommit=True, connect_timeout=10) as home:
        found = phases(home)
    return Snapshot(elapsed, found, total, tasks, done, run.working())
