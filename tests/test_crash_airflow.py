"""Task processes killed under a real Airflow: the demo still ends with the figures that were planted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from demo.stack import Stack
from sinew.engine.batch import BATCH_LOCK

ROOT = Path(__file__).resolve().parents[1]
KILLS = 10
_SECONDS = 1500


@pytest.fixture
def folder() -> Iterator[Path]:
    """Outside pytest's own folders, which the next run of pytest closes to the server's user."""
    made = Path(tempfile.mkdtemp(prefix="sinew-crash-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.campaign
@pytest.mark.timeout(_SECONDS + 120)
def test_ten_tasks_killed_under_airflow_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINEW_HOME", str(folder / "stack"))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), str(ROOT / "include")]),
    }
    log = folder / "demo.log"
    with log.open("w") as out:
        demo = subprocess.Popen(
            [sys.executable, "-m", "demo", "--scale", "0.2", "--stop"],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        killed = _kill_now_and_then(Stack(), demo, random.Random(7))
        code = demo.wait(_SECONDS)
    print(f"killed {len(killed)} task processes: {', '.join(killed)}")
    assert code == 0, log.read_text()[-4000:]
    assert len(killed) == KILLS


def _kill_now_and_then(
    stack: Stack, demo: subprocess.Popen[bytes], chance: random.Random
) -> list[str]:
    killed: list[str] = []
    end = time.monotonic() + _SECONDS
    while demo.poll() is None and len(killed) < KILLS and time.monotonic() < end:
        time.sleep(chance.uniform(0.3, 2.5))
        for step, process in _working(stack):
            # Each task may be tried three times; none loses all its tries to us.
            if killed.count(step) < 2:
                process.send_signal(signal.SIGKILL)
                killed.append(step)
                break
    return killed


def _working(stack: Stack) -> list[tuple[str, psutil.Process]]:
    """The processes that work on a step now: those behind the sessions that the engine has opened."""
    try:
        with psycopg.connect(stack.postgres.dsn("commerce"), connect_timeout=5) as conn:
            server = conn.info.port
            rows = conn.execute(
                "SELECT application_name || ' of batch ' || l.objid, client_port "
                "FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid AND l.classid = %s "
                "WHERE application_name IN ('sinew extract', 'sinew transform', 'sinew check', 'sinew load', "
                "'sinew validate') AND client_port > 0",
                (BATCH_LOCK,),
            ).fetchall()
    except Exception:  # the stack is still coming up
        return []
    # One port may be the near end of several connections; only those to this server are meant.
    by_port = {
        found.laddr.port: found.pid
        for found in psutil.net_connections("tcp")
        if found.pid and found.raddr and found.raddr.port == server
    }
    return [
        (name.removeprefix("sinew "), psutil.Process(by_port[port]))
        for name, port in rows
        if port in by_port and psutil.pid_exists(by_port[port])
    ]
