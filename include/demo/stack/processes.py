"""Processes that are ours: known by pid and start time, so that a re-used pid is never harmed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

# In the stack's folder: the supervisor and its children, with their stamps.
STATE = "processes.json"


@dataclass(frozen=True)
class Stamp:
    """One process: its pid, and its start in seconds since the epoch."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Stamp:
        """The stamp of a process that is alive now."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The very process that was stamped, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            # Start times have the kernel's tick (10 ms); a pid is not re-used within half a second.
            same = abs(process.create_time() - self.started) < 0.5
            ended = process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same and not ended else None


def session_of(stamp: Stamp) -> list[psutil.Process]:
    """All processes of the session that the stamped process leads or led, itself first.

    A leader that died by SIGKILL leaves its children behind; they keep its session id. While one
    of them lives the kernel gives that pid to nobody else.
    """
    leader = stamp.process()
    if leader is None and psutil.pid_exists(stamp.pid) and not _is_zombie(stamp.pid):
        return []
    members = [p for p in psutil.process_iter() if p.pid != stamp.pid and _belongs(p, stamp)]
    return ([leader] if leader else []) + members


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, stamp: Stamp) -> bool:
    try:
        if os.getsid(process.pid) != stamp.pid or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() >= stamp.started - 0.5)
    except (psutil.Error, OSError):
        return False


def end_session(stamp: Stamp, patience: float) -> None:
    """SIGTERM to a session's leader, and after ``patience`` seconds SIGKILL to all who are left."""
    leader = stamp.process()
    if leader is not None and patience > 0:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.send_signal(signal.SIGTERM)
        psutil.wait_procs([leader], timeout=patience)
    end_now(session_of(stamp))


def end_now(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL, then wait until they are gone."""
    victims = list(processes)
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, timeout=10)
