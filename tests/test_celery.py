"""A migration under Celery: two workers and a real Redis, sharing nothing but the databases."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from demo.stack.airflow_service import DATABASE, AirflowService
from demo.stack.errors import StackError
from demo.stack.files import write_json
from demo.stack.ports import HOST, any_free
from demo.stack.postgres import EmbeddedPostgres
from demo.stack.processes import Stamp, end_session
from tests.fix_shop import MAPPING, REJECTS, Shop

ROOT = Path(__file__).resolve().parents[1]
WORKERS = ("one", "two")
# What only the control plane may know: a worker asks the API server instead.
KEPT_FROM_WORKERS = (
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
)
pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(580)]


class CeleryAirflow(AirflowService):
    """Airflow whose tasks run wherever a Celery worker is."""

    broker = ""

    def env(self) -> dict[str, str]:
        """The environment of the API server, the scheduler and the dag processor."""
        return super().env() | {
            "AIRFLOW__CELERY__BROKER_URL": f"{self.broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"{self.broker}/1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        }

    def worker_env(self, home: Path, include: Path) -> dict[str, str]:
        """The environment of a worker that has its own folders and its own copy of the mappings."""
        for folder in ("airflow", "tmp"):
            (home / folder).mkdir(parents=True)
        shutil.copytree(include, home / "include")
        kept = {k: v for k, v in self.env().items() if k not in KEPT_FROM_WORKERS}
        return kept | {
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "airflow" / "logs"),
            "HOME": str(home),
            # Airflow notes it with each task: so the test knows who did what.
            "LOGNAME": home.name,
            "SINEW_INCLUDE": str(home / "include"),
            "TMPDIR": str(home / "tmp"),
        }


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, which is ended with all its children."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    stamp = Stamp.of(process.pid)
    try:
        yield process
    finally:
        end_session(stamp, patience=5)
        process.wait()


def wait_for(ready: Callable[[], Any], seconds: float, problem: Callable[[], str]) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {problem()}"
        time.sleep(1)
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all servers of a test have their folders; the mappings of the shop are elsewhere."""
    return tmp_path_factory.mktemp("celery")


@pytest.fixture
def broker(folder: Path) -> Iterator[str]:
    """The address of a Redis of this test's own, without the number of a database."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("Missing: the Debian package redis-server. apt-get install redis-server")
    port, password = any_free(), secrets.token_hex(16)
    config = folder / "redis.conf"
    config.write_text(
        f"bind {HOST}\nport {port}\nrequirepass {password}\nsave ''\ndir {folder}\n",
        encoding="utf-8",
    )
    with running([program, str(config)], folder / "redis.log"):
        yield f"redis://:{password}@{HOST}:{port}"


@pytest.fixture
def airflow(pg: EmbeddedPostgres, folder: Path, broker: str) -> Iterator[CeleryAirflow]:
    """An Airflow that has its folder and an empty metadata database."""
    service = CeleryAirflow(folder / "control" / "airflow", ROOT, pg)
    service.broker = broker
    service.home.mkdir(parents=True)
    write_json(service.home / "server.json", {"port": any_free()})
    service.ensure_password()
    pg.ensure_role(DATABASE)
    pg.ensure_database(DATABASE, DATABASE)
    yield service
    pg.drop_database(DATABASE)


def connection(conninfo: str) -> dict[str, Any]:
    """A conninfo as Airflow's `connections import` takes it."""
    parts = conninfo_to_dict(conninfo)
    return {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(str(parts["port"])),
        "login": parts["user"],
        "password": parts["password"],
        "schema": parts["dbname"],
    }


@pytest.fixture
def include(shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An include folder with the shop's mapping, for the API server and its neighbours."""
    made = folder / "include"
    shutil.copytree(shop.include, made)
    (made / "mappings" / "migrations").mkdir()
    text = MAPPING.format(strategy="trickle", existing="fail", cohort="", rows=1000, hash="auto")
    (made / "mappings" / "migrations" / "shop.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("SINEW_INCLUDE", str(made))
    return made


@pytest.fixture
def cluster(
    airflow: CeleryAirflow, shop: Shop, include: Path, folder: Path
) -> Iterator[CeleryAirflow]:
    """Airflow with two workers, which knows the shop's mapping and both databases."""
    airflow.migrate(fresh=True)
    airflow.store_connections(
        {
            "old_shop": connection(shop.source.conninfo),
            "new_shop": connection(shop.home.conninfo),
        },
        fresh=True,
    )
    with ExitStack() as stack:
        servers = []
        for part in (["api-server"], ["scheduler", "--skip-serve-logs"], ["dag-processor"]):
            log = folder / f"{part[0]}.log"
            servers.append(stack.enter_context(running(airflow.command(*part), log, airflow.env())))
        for name in WORKERS:
            options = ["--celery-hostname", name, "--concurrency", "2", "--skip-serve-logs"]
            command = airflow.command("celery", "worker", *options)
            env = airflow.worker_env(folder / "workers" / name, include)
            log = folder / f"worker-{name}.log"
            servers.append(stack.enter_context(running(command, log, env)))
        wait_for(lambda: ended(servers) or known(airflow), 200, lambda: ends_of_logs(folder))
        assert not ended(servers), f"{ended(servers)} ended\n{ends_of_logs(folder)}"
        yield airflow


def ended(servers: list[subprocess.Popen[bytes]]) -> list[Any]:
    """The commands of the servers that run no more."""
    return [server.args for server in servers if server.poll() is not None]


def known(airflow: CeleryAirflow) -> bool:
    """Whether Airflow lists the migration's dag; fails when it cannot be read."""
    try:
        errors = airflow.api("GET", "/api/v2/importErrors")["import_errors"]
        assert not errors, errors
        return bool(airflow.api("GET", "/api/v2/dags/migrate__shop"))
    except StackError:
        return False


def ends_of_logs(folder: Path) -> str:
    """The last lines of every log, for the message of a test that fails."""
    found = [*folder.glob("*.log"), *folder.glob("workers/*/airflow/logs/**/*.log")]
    newest = sorted(found, key=lambda log: log.stat().st_mtime)[-12:]
    return "\n".join(
        f"--- {log.name}\n{log.read_text('utf-8', errors='replace')[-1500:]}" for log in newest
    )


def finished(airflow: CeleryAirflow, run: str) -> str | None:
    """The state in which the run ended."""
    state = str(airflow.api("GET", run)["state"])
    return state if state in ("success", "failed") else None


def test_two_workers_that_share_nothing_but_the_databases_move_a_shop_together(
    cluster: CeleryAirflow, shop: Shop, folder: Path
) -> None:
    runs = "/api/v2/dags/migrate__shop/dagRuns"
    started = cluster.api("POST", runs, {"logical_date": None})
    run = f"{runs}/{started['dag_run_id']}"
    state = wait_for(lambda: finished(cluster, run), 300, lambda: ends_of_logs(folder))
    tasks = cluster.api("GET", f"{run}/taskInstances?limit=200")["task_instances"]
    states = {f"{t['task_id']}[{t['map_index']}]": t["state"] for t in tasks}
    assert state == "success", f"{states}\n{ends_of_logs(folder)}"
    assert set(states.values()) == {"success"}
    steps_of = Counter(task["unixname"] for task in tasks)
    print(f"tasks of each worker: {dict(steps_of)}")
    assert steps_of.keys() == set(WORKERS)
    assert_moved(shop)


def assert_moved(shop: Shop) -> None:
    """The shop's rows are in the new database or among the rejects, each once."""
    with psycopg.connect(shop.home.conninfo) as conn:
        rejects = conn.execute(
            "SELECT entity, rule, count(*) FROM sinew.reject WHERE scope = 'row' GROUP BY 1, 2"
        ).fetchall()
        lines = conn.execute("SELECT count(*) FROM shop.lines").fetchone()
    assert {(entity, rule): count for entity, rule, count in rejects} == REJECTS
    lost = sum(count for (entity, _), count in REJECTS.items() if entity == "lines")
    assert lines == (3000 - lost,)


def test_a_worker_knows_neither_the_metadata_database_nor_its_keys(
    airflow: CeleryAirflow, folder: Path
) -> None:
    include = folder / "include"
    include.mkdir()
    env = airflow.worker_env(folder / "workers" / "one", include)
    assert not set(KEPT_FROM_WORKERS) & env.keys()
    own_password = airflow.env()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].split(":")[2].split("@")[0]
    assert not [name for name, value in env.items() if own_password in value]
    assert os.path.commonpath([env["HOME"], env["TMPDIR"], env["AIRFLOW_HOME"]]) == env["HOME"]
