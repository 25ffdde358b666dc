"""A real Airflow for the tests: metadata on the tests' own PostgreSQL, an API server, runs of DAGs."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import psycopg
import pytest

from demo.stack.airflow_service import AirflowService
from demo.stack.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[1]

# Airflow reads its settings when it is imported, and would make ~/airflow.
if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__CORE__PLUGINS_FOLDER", str(ROOT / "plugins"))

MAPPING = """\
migration: {name}
description: A small shop.
source: {{conn: old_shop}}
target: {{conn: new_shop, schema: shop}}
cohort: {{root: customers}}
phases:
  - {{name: pilot, where: '"NO" % 10 = 0'}}
  - {{name: rest, approval: {approval}}}
contracts: contracts/shop
entities:
  customers:
    from: CUST
    key: ["NO"]
    columns:
      customer_id: {{key: copy}}
      name: {{from: NAME, do: [trim]}}
  orders:
    from: ORD
    key: [ID]
    columns:
      order_id: {{key: copy}}
      customer_id: {{ref: customers, by: CUST_NO}}
  notes:
    from: NOTE
    key: [ID]
    columns:
      id: {{key: copy}}
      body: {{from: BODY}}
"""

SOURCE = """
DROP TABLE IF EXISTS "CUST", "ORD", "NOTE";
CREATE TABLE "CUST" ("NO" int PRIMARY KEY, "NAME" text);
INSERT INTO "CUST" SELECT n, 'customer ' || n FROM generate_series(1, 50) AS n;
CREATE TABLE "ORD" ("ID" int PRIMARY KEY, "CUST_NO" int);
INSERT INTO "ORD" SELECT n, 1 + n % 50 FROM generate_series(1, 100) AS n;
CREATE TABLE "NOTE" ("ID" int PRIMARY KEY, "BODY" text);
INSERT INTO "NOTE" SELECT n, 'a note' FROM generate_series(1, 5) AS n;
"""

TARGET = """
DROP SCHEMA IF EXISTS shop, sinew, sinew_rows, sinew_stage CASCADE;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (customer_id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE shop.orders (
    order_id int PRIMARY KEY, customer_id int NOT NULL REFERENCES shop.customers);
CREATE TABLE shop.notes (id int PRIMARY KEY, body text);
"""

# A contract that the customers of the pilot break.
STRICT = """\
dataset: home/new/shop/customers
columns:
  - name: name
    checks:
      - invalid: {valid_format: {name: no zero, regex: '^[^0]+$'}}
"""
LENIENT = """\
dataset: home/new/shop/customers
columns:
  - name: name
    checks:
      - missing:
"""


@dataclass(frozen=True)
class Run:
    """What became of a run: its id, its state, and the state of each task instance."""

    run_id: str
    state: str
    tasks: dict[str, str]

    def states(self, *tasks: str) -> set[str]:
        """The states of some tasks."""
        return {self.tasks[task] for task in tasks}

    def of(self, prefix: str) -> dict[str, str]:
        """The tasks whose ids begin with a text."""
        return {task: state for task, state in self.tasks.items() if task.startswith(prefix)}


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    headers: dict[str, str]
    text: str


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = build_opener(ProxyHandler({}), _NoRedirects())


class Airflow:
    """One Airflow, with two databases and an include folder that every test starts anew."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres) -> None:
        self.include = folder / "include"
        self.service = AirflowService(folder / "airflow", ROOT, postgres)
        self._postgres = postgres
        self._log = folder / "run.log"
        self._token = ""
        # Connections besides the two databases, by id, as URIs.
        self.connections: dict[str, str] = {}

    def prepare(self) -> None:
        """Make the metadata."""
        self.service.home.mkdir(parents=True)
        self._postgres.ensure_role("airflow")
        self._postgres.ensure_database("airflow", "airflow")
        for name in ("old_shop", "new_shop"):
            self._postgres.ensure_database(name)
        self.service.ensure_password()
        self.service.claim_port()
        self.service.migrate(fresh=True)

    def env(self) -> dict[str, str]:
        """The environment of its processes: the connections are variables."""
        uris = {
            f"AIRFLOW_CONN_{name.upper()}": (
                f"postgres://postgres:{quote(self._postgres.password('postgres'), safe='')}"
                f"@127.0.0.1:{self._postgres.port}/{name}"
            )
            for name in ("old_shop", "new_shop")
        }
        uris |= {f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in self.connections.items()}
        paths = os.pathsep.join(str(p) for p in (ROOT / "plugins", ROOT / "include", ROOT))
        own = {"SINEW_INCLUDE": str(self.include), "PYTHONPATH": paths}
        return self.service.env() | uris | own

    def reset(self) -> None:
        """Fresh rows in the old shop, nothing in the new one."""
        self.old(SOURCE)
        self.new(TARGET)
        for folder in ("migrations", "syncs", "python"):
            (self.include / "mappings" / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("contracts/shop", "sql"):
            (self.include / folder).mkdir(parents=True, exist_ok=True)
        self.contract(LENIENT)
        for file in (self.include / "mappings").glob("*/*.yaml"):
            file.unlink()

    def mapping(self, name: str, *, approval: bool = False) -> str:
        """Write a mapping; returns its dag's id."""
        text = MAPPING.format(name=name, approval=str(approval).lower())
        (self.include / "mappings" / "migrations" / f"{name}.yaml").write_text(text)
        return f"migrate__{name}"

    def sync(self, name: str, text: str) -> str:
        """Write a sync's mapping; returns its dag's id."""
        (self.include / "mappings" / "syncs" / f"{name}.yaml").write_text(text)
        return f"sync__{name}"

    def contract(self, text: str) -> None:
        """Write the contract of the customers."""
        (self.include / "contracts" / "shop" / "customers.yaml").write_text(text)

    def old(self, query: str) -> list[tuple[Any, ...]]:
        """Run SQL on the source."""
        return self._sql("old_shop", query)

    def new(self, query: str) -> list[tuple[Any, ...]]:
        """Run SQL on the target."""
        return self._sql("new_shop", query)

    def dsn(self, database: str) -> str:
        """The conninfo of one of its databases."""
        return self._postgres.dsn(database)

    def _sql(self, database: str, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._postgres.dsn(database), autocommit=True) as conn:
            cursor = conn.execute(query)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    # ------------------------------------------------------------------ runs

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin a run in a process of its own."""
        # Into a file: nobody reads while the run waits for an answer, and a pipe would fill up.
        with open(self._log, "wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.kit_airflow", *arguments],
                env=self.env(),
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )

    def finish(self, process: subprocess.Popen[bytes]) -> Run:
        """Wait for a run that was begun."""
        try:
            process.wait(timeout=200)
        finally:
            process.kill()
        output = self._log.read_text()
        assert process.returncode == 0, output[-3000:]
        told = json.loads(output.strip().splitlines()[-1])
        return Run(told["run_id"], told["state"], told["tasks"])

    def run(self, dag_id: str, **conf: Any) -> Run:
        """Run a DAG to its end, with the form filled in as ``conf``."""
        return self.finish(self.start("run", dag_id, json.dumps(conf)))

    def clear(self, dag_id: str, run: Run, task: str, map_index: int) -> Run:
        """Clear a task with all that follows, as the UI does, and let the run go on."""
        return self.finish(self.start("clear", dag_id, run.run_id, task, str(map_index)))

    # ------------------------------------------------------------------ the API server

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the API server and wait until it answers."""
        process = subprocess.Popen(
            self.service.command("api-server"),
            env=self.env(),
            cwd=self.service.home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.service.health():
                return process
            time.sleep(0.5)
        process.kill()
        raise AssertionError("the API server does not answer")

    @property
    def token(self) -> str:
        """A token of the administrator."""
        self._token = self._token or self.service.token()
        return self._token

    def get(self, path: str, **headers: str) -> Answer:
        """Ask the API server; redirects are not followed."""
        request = Request(self.service.url + path, headers=headers)
        try:
            with _opener.open(request, timeout=60) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read().decode())
        except HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read().decode())

    def answer(self, dag_id: str, task: str, option: str, seconds: float = 150) -> None:
        """Answer an approval as soon as it is asked for."""
        deadline = time.monotonic() + seconds
        open_ = f"/api/v2/dags/{dag_id}/dagRuns/~/hitlDetails?response_received=false"
        while not (found := self.service.api("GET", open_)["hitl_details"]):
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.5)
        run_id = quote(found[0]["task_instance"]["dag_run_id"], safe="")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/-1/hitlDetails"
        self.service.api("PATCH", path, {"chosen_options": [option], "params_input": {}})


@pytest.fixture(scope="session")
def _airflow(pg: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    made = Airflow(tmp_path_factory.mktemp("airflow"), pg)
    made.prepare()
    return made


@pytest.fixture
def airflow(_airflow: Airflow) -> Airflow:
    """An Airflow whose databases and mappings no test has touched yet."""
    _airflow.reset()
    return _airflow


@pytest.fixture(scope="session")
def _served(_airflow: Airflow) -> Iterator[None]:
    process = _airflow.serve()
    yield
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture
def served(airflow: Airflow, _served: None) -> Airflow:
    """The same, with its API server running."""
    return airflow
