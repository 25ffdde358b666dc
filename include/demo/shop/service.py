"""The whole shop as a process of its own, started once and stopped with the stack."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.stack.errors import StackError
from demo.stack.files import read_json, write_json
from demo.stack.processes import Stamp, end_session

_READY, _PROCESS = "ready.json", "process.json"
_START_SECONDS = 120


class ShopService:
    """State in one folder: data, keys, addresses, and which process it is."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def running(self) -> bool:
        """Whether the very process that was started here is alive and serves."""
        return self._process() is not None and bool(read_json(self.home / _READY))

    @property
    def connections(self) -> dict[str, dict[str, Any]]:
        """Airflow connections to the APIs, secrets included; none unless it runs."""
        found: dict[str, dict[str, Any]] = read_json(self.home / _READY).get("connections", {})
        return found

    def start(self) -> None:
        """Start the servers unless they run, and wait until they answer."""
        if self.running:
            return
        self.stop()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.home / "shop.log"
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "demo.shop", "--home", str(self.home)],
                env=os.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        stamp = Stamp.of(process.pid)
        write_json(self.home / _PROCESS, {"pid": stamp.pid, "started": stamp.started})
        deadline = time.monotonic() + _START_SECONDS
        while not self.running:
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"The demo's shop did not start. Read its log: {log}.")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the servers; no effect if they do not run."""
        said = read_json(self.home / _PROCESS)
        if said:
            end_session(Stamp(said["pid"], said["started"]), patience=10)
        for name in (_PROCESS, _READY):
            (self.home / name).unlink(missing_ok=True)

    def forget(self) -> None:
        """Stop, and throw away what was sent to the marketing system."""
        self.stop()
        for file in self.home.glob("marketing.sqlite*"):
            file.unlink()

    def _process(self) -> object | None:
        said = read_json(self.home / _PROCESS)
        return Stamp(said["pid"], said["started"]).process() if said else None
