"""The supervisor: what exits starts again, and nothing outlives its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.stack.files import read_json
from demo.stack.processes import STATE, Stamp, session_of
from demo.stack.stack import Stack

STEADY = "import time; time.sleep(60)"
PARENT = (
    "import subprocess, sys, time; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
)
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def wait_for(ready: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


class Supervised:
    """A supervisor of small Python programs, seen from outside."""

    def __init__(self, folder: Path, **programs: str) -> None:
        self.folder = folder
        commands = [
            f"{name}={json.dumps([sys.executable, '-c', code])}" for name, code in programs.items()
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo.stack.supervisor", str(folder), *commands],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        wait_for(lambda: self.children().keys() == programs.keys())

    def children(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = read_json(self.folder / STATE).get("children", {})
        return found

    def stamp(self, name: str) -> Stamp:
        child = self.children()[name]
        return Stamp(child["pid"], child["started"])

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=25) == 0


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def start(**programs: str) -> Supervised:
        made.append(Supervised(tmp_path, **programs))
        return made[-1]

    yield start
    for supervised in made:
        if supervised.process.poll() is None:
            supervised.end()


Supervise = Callable[..., Supervised]


def test_a_program_that_is_killed_starts_again(supervise: Supervise) -> None:
    supervised = supervise(one=STEADY, other=STEADY)
    before, other = supervised.stamp("one"), supervised.stamp("other")
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: supervised.children()["one"]["restarts"] == 1)
    assert supervised.stamp("one") != before
    assert supervised.stamp("other") == other


def test_what_a_killed_program_left_is_ended_before_it_starts_again(supervise: Supervise) -> None:
    supervised = supervise(one=PARENT)
    before = supervised.stamp("one")
    wait_for(lambda: len(session_of(before)) == 2)
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: supervised.children()["one"]["restarts"] == 1)
    assert session_of(before) == []


def test_a_program_that_always_exits_is_started_ever_more_slowly(supervise: Supervise) -> None:
    supervised = supervise(one="raise SystemExit(1)")
    time.sleep(4.5)
    # At once, and after 1 and 2 more seconds; without the delay it would be at every half second.
    assert supervised.children()["one"]["restarts"] <= 2


def test_the_end_of_the_supervisor_ends_all_even_those_that_ignore_it(supervise: Supervise) -> None:
    supervised = supervise(one=PARENT, deaf=DEAF)
    stamps = [supervised.stamp(name) for name in supervised.children()]
    wait_for(lambda: len(session_of(stamps[0])) == 2)
    supervised.end()
    assert [session_of(stamp) for stamp in stamps] == [[], []]


def test_what_a_killed_supervisor_left_is_ended_by_down(
    supervise: Supervise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervised = supervise(one=PARENT)
    stamp = supervised.stamp("one")
    supervised.process.kill()
    supervised.process.wait()
    assert stamp.process() is not None
    monkeypatch.setenv("SINEW_HOME", str(tmp_path))
    Stack().down()
    assert session_of(stamp) == []


def test_down_leaves_a_stranger_alone_that_got_a_recorded_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", STEADY], start_new_session=True)
    started = psutil.Process(stranger.pid).create_time() - 3600
    child = {"pid": stranger.pid, "started": started, "restarts": 0}
    state = {"pid": stranger.pid, "started": started, "children": {"scheduler": child}}
    (tmp_path / STATE).write_text(json.dumps(state), encoding="utf-8")
    monkeypatch.setenv("SINEW_HOME", str(tmp_path))
    try:
        Stack().down()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
