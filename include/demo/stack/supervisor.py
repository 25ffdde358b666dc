"""The parent of Airflow's processes: starts them, and starts them again when they exit.

Airflow's scheduler and its DAG processor end for good when their database is away for two seconds.
Run as ``python -m demo.stack.supervisor <state folder> <name>=<command as JSON>...``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from demo.stack.files import write_json
from demo.stack.processes import STATE, Stamp, end_now, end_session, session_of

_PATIENCE = 10.0  # seconds that a process gets to end by itself
_LONGEST_DELAY = 30.0
_STEADY = 60.0  # a process that lived as long starts again without delay
_LOG_BYTES = 20 * 1024 * 1024


@dataclass
class Child:
    """One supervised program and its present process."""

    name: str
    command: list[str]
    log: Path
    stamp: Stamp | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: int = -1
    delay: float = 0.0
    due: float = 0.0

    def start(self) -> None:
        """Start the program in a session of its own, with its output in its log."""
        self._rotate()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.stamp = Stamp.of(self.process.pid)
        self.restarts += 1

    def _rotate(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def exited(self) -> bool:
        """True once the present process has ended; plans the next start."""
        if self.process is None or self.process.poll() is None:
            return False
        assert self.stamp is not None
        # Tasks of a dead scheduler would go on beside those that the next one starts.
        end_now(session_of(self.stamp))
        lived = time.time() - self.stamp.started
        self.delay = 0.0 if lived > _STEADY else min(_LONGEST_DELAY, max(1.0, self.delay * 2))
        self.due = time.monotonic() + self.delay
        self.process = None
        return True


class Supervisor:
    """Keeps its children running until SIGTERM or SIGINT."""

    def __init__(self, folder: Path, commands: dict[str, list[str]]) -> None:
        self._folder = folder
        logs = folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._children = [Child(n, c, logs / f"{n}.log") for n, c in commands.items()]
        self._stopping = threading.Event()

    def run(self) -> None:
        """Supervise; returns after every child has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._record()
        try:
            while not self._stopping.wait(0.5):
                self._tend()
        finally:
            self._end_all()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _tend(self) -> None:
        changed = [child.exited() for child in self._children]
        for child in self._children:
            if child.process is None and child.due <= time.monotonic():
                child.start()
                changed.append(True)
                # Recorded at once: a supervisor killed a moment later must not lose a process.
                self._record()
        if any(changed):
            self._record()

    def _end_all(self) -> None:
        stamps = [child.stamp for child in self._children if child.stamp]
        enders = [threading.Thread(target=end_session, args=(s, _PATIENCE)) for s in stamps]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def _record(self) -> None:
        own = Stamp.of(os.getpid())
        children = {
            child.name: {
                "pid": child.stamp.pid,
                "started": child.stamp.started,
                "restarts": child.restarts,
            }
            for child in self._children
            if child.stamp
        }
        state = {"pid": own.pid, "started": own.started, "children": children}
        write_json(self._folder / STATE, state)


def main(arguments: list[str]) -> None:
    """Supervise the commands given as ``name=[json, list]``."""
    pairs = (argument.split("=", 1) for argument in arguments[1:])
    Supervisor(Path(arguments[0]), {name: json.loads(text) for name, text in pairs}).run()


if __name__ == "__main__":
    main(sys.argv[1:])
