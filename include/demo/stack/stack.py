"""PostgreSQL and Airflow together: all that they keep lies in one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from demo.shop.service import ShopService
from demo.stack.airflow_service import COMPONENTS, DATABASE, AirflowService
from demo.stack.errors import StackError
from demo.stack.files import locked, read_json
from demo.stack.ports import HOST
from demo.stack.postgres import EmbeddedPostgres
from demo.stack.processes import STATE, Stamp, end_session

REPOSITORY = Path(__file__).resolve().parents[3]
_HEALTH_SECONDS = 180

# Airflow connection id: its role, and its database.
CONNECTIONS = {
    "legacy_retail": ("legacy", "legacy_retail"),
    "commerce": ("sinew", "commerce"),
    # Where the tokens of APIs are kept, encrypted.
    "sinew_tokens": ("sinew_tokens", "sinew_tokens"),
}


@dataclass(frozen=True)
class Line:
    """One line of the status table."""

    name: str
    state: str
    pid: int | None
    detail: str


class Stack:
    """The local stack of a checkout; its state is in ``.sinew/``, or in ``$SINEW_HOME``."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root or REPOSITORY).resolve()
        self.home = Path(os.environ.get("SINEW_HOME") or self.root / ".sinew").resolve()
        self.postgres = EmbeddedPostgres(self.home / "postgres")
        self.airflow = AirflowService(self.home / "airflow", self.root, self.postgres)
        # Started by the demo alone.
        self.shop = ShopService(self.home / "shop")

    def up(self, say: Callable[[str], None] = lambda line: None) -> bool:
        """Start all that is not running and wait until it is healthy; True on the very first time.

        ``say`` is called with a line for each stage.
        """
        self.airflow.home.mkdir(parents=True, exist_ok=True)
        with locked(self.home / "lock"):
            say("PostgreSQL ...")
            self.postgres.start()
            fresh = self.ensure_databases()
            first = self.airflow.ensure_password()
            if not self._supervisor():
                self._end_strays()
                self.airflow.claim_port()
                say("Airflow's metadata ...")
                self.airflow.migrate(fresh)
                self._supervise()
            say("Airflow ...")
            # Five seconds of imports, during which the servers can start.
            with ThreadPoolExecutor(1) as pool:
                stored = pool.submit(self.airflow.store_connections, self._connections(), fresh)
                self._wait_until_healthy()
                stored.result()
        return first

    def down(self) -> None:
        """Stop what `up` started, and nothing else."""
        if not self.home.exists():
            return
        with locked(self.home / "lock"):
            supervisor = self._supervisor()
            if supervisor:
                end_session(supervisor, patience=30)
            self._end_strays()
            self.shop.stop()
            self.postgres.stop()

    def dsn(self, connection: str) -> str:
        """The conninfo that the Airflow connection of that name has: its database, as its role."""
        role, database = CONNECTIONS[connection]
        return self.postgres.dsn(database, role)

    # ------------------------------------------------------------------ databases

    def ensure_databases(self) -> bool:
        """Make the roles and databases that are missing; True if Airflow's was among them."""
        self.postgres.ensure_role(DATABASE)
        # Reads all tables of the databases that it may connect to, and their changes; writes none.
        self.postgres.ensure_role("legacy", "REPLICATION")
        self.postgres.ensure_role("sinew")
        self.postgres.ensure_role("sinew_tokens")
        fresh = self.postgres.ensure_database(DATABASE, DATABASE)
        self.postgres.ensure_database("commerce", "sinew")
        self.postgres.ensure_database("sinew_tokens", "sinew_tokens")
        self.postgres.ensure_database("legacy_retail")
        with self.postgres.connect() as conn:
            conn.execute("GRANT pg_read_all_data TO legacy")
            conn.execute("GRANT CONNECT ON DATABASE legacy_retail TO legacy")
        return fresh

    def _connections(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "conn_type": "postgres",
                "host": HOST,
                "port": self.postgres.port,
                "login": role,
                "password": self.postgres.password(role),
                "schema": database,
            }
            for name, (role, database) in CONNECTIONS.items()
        }

    # ------------------------------------------------------------------ processes

    def _state(self) -> dict[str, Any]:
        return read_json(self.home / STATE)

    def _supervisor(self) -> Stamp | None:
        state = self._state()
        stamp = Stamp(state["pid"], state["started"]) if state else None
        return stamp if stamp and stamp.process() else None

    def _end_strays(self) -> None:
        """End the children of a supervisor that was killed."""
        for child in self._state().get("children", {}).values():
            end_session(Stamp(child["pid"], child["started"]), patience=0)

    def _supervise(self) -> None:
        (self.home / STATE).unlink(missing_ok=True)
        commands = [
            f"{name}={json.dumps(self.airflow.command(*arguments))}"
            for name, arguments in COMPONENTS.items()
        ]
        log = self.home / "logs" / "supervisor.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            subprocess.Popen(
                [sys.executable, "-m", "demo.stack.supervisor", str(self.home), *commands],
                env=self.airflow.env(),
                cwd=self.airflow.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait(lambda: self._supervisor() is not None, 20, "The supervisor did not start")

    def _wait_until_healthy(self) -> None:
        needed = {"metadatabase", "scheduler", "dag_processor"}
        self._wait(
            lambda: all(self.airflow.health().get(name) == "healthy" for name in needed),
            _HEALTH_SECONDS,
            "Airflow is not healthy",
        )

    def _wait(self, ready: Callable[[], bool], seconds: float, problem: str) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise StackError(
                    f"{problem} after {seconds:.0f} s. Read the logs in {self.home / 'logs'}."
                )
            time.sleep(0.5)

    # ------------------------------------------------------------------ status

    def status(self) -> list[Line]:
        """What runs and what does not; reads only."""
        return [self._postgres_line(), *self._component_lines()]

    def _postgres_line(self) -> Line:
        process = self.postgres.postmaster()
        if process is None:
            return Line("postgres", "stopped", None, "")
        return Line("postgres", "running", process.pid, f"{HOST}:{self.postgres.port}")

    def _component_lines(self) -> Iterator[Line]:
        children = self._state().get("children", {})
        health = self.airflow.health()
        for name in COMPONENTS:
            child = children.get(name)
            process = Stamp(child["pid"], child["started"]).process() if child else None
            if child is None or process is None:
                yield Line(name, "stopped", None, str(self.home / "logs" / f"{name}.log"))
                continue
            key = "metadatabase" if name == "api-server" else name.replace("-", "_")
            state = "running" if health.get(key) == "healthy" else "not healthy"
            yield Line(name, state, process.pid, _detail(process, child["restarts"]))


def _detail(process: psutil.Process, restarts: int) -> str:
    up = int(time.time() - process.create_time())
    again = f", restarted {restarts} times" if restarts else ""
    return f"up {up // 3600}:{up % 3600 // 60:02}:{up % 60:02}{again}"
