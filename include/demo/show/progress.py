"""The run while it goes on: one picture of it, as lines of text, drawn again and again."""

from __future__ import annotations

import shutil
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from demo.show.ledger import Phase
from demo.show.words import clock, count

# What a task costs beyond its rows, and what a row costs over all five steps, in seconds. Only their
# relation matters: the run's own pace scales both.
_TASK, _ROW = 1.0, 1 / 20_000

# Rows arrive in jumps, a batch at a time: a rate over a shorter time would jump as well.
_RATE_SECONDS = 45.0

_STATES = ("planned", "extracted", "transformed", "checked", "loaded", "validated")


@dataclass(frozen=True)
class Snapshot:
    """One moment of a run. ``rows`` are those of the source, ``tasks`` those of Airflow."""

    elapsed: float
    phases: Sequence[Phase]
    rows: int
    tasks: int
    tasks_done: int
    running: Sequence[str]

    @property
    def moved(self) -> int:
        """Rows that are in the target, or rejected with a reason."""
        return sum(phase.moved for phase in self.phases)

    @property
    def total(self) -> int:
        """Rows to move: more than the source has where a later phase moves some again."""
        return max(self.rows, self.moved)

    @property
    def worked(self) -> float:
        """Rows, weighted by the steps that they have behind them."""
        return sum(phase.worked for phase in self.phases)


@dataclass(frozen=True)
class Pace:
    """How fast it goes; ``left`` is in seconds, None while there is too little to judge by."""

    share: float
    rate: float
    left: float | None


class Pacer:
    """Tells the pace of a run from the moments seen so far.

    Rows that were worked on before the first look are no work of this run.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._first: Snapshot | None = None

    def pace(self, now: Snapshot) -> Pace:
        """The pace at this moment."""
        self._first = self._first or now
        done = _work(now.tasks_done, now.worked - self._first.worked)
        all_ = max(done, _work(now.tasks, now.total - self._first.worked))
        return Pace(done / all_ if all_ else 0.0, self._rate(now), self._left(now, done, all_))

    def _rate(self, now: Snapshot) -> float:
        self._seen.append((now.elapsed, now.moved))
        while now.elapsed - self._seen[0][0] > _RATE_SECONDS:
            self._seen.popleft()
        since, moved = self._seen[0]
        # A batch that was opened again counts as not moved.
        return max(0.0, now.moved - moved) / (now.elapsed - since) if now.elapsed > since else 0.0

    def _left(self, now: Snapshot, done: float, all_: float) -> float | None:
        assert self._first is not None
        spent, own = now.elapsed - self._first.elapsed, done - _work(self._first.tasks_done, 0)
        if spent < 10 or own < all_ / 25:
            return None
        return (all_ - done) * spent / own


def _work(tasks: int, rows: float) -> float:
    return tasks * _TASK + max(0.0, rows) * _ROW


def picture(now: Snapshot, pace: Pace, width: int = 100) -> list[str]:
    """The lines that a terminal shows."""
    left = f", about {clock(pace.left)} left" if pace.left is not None else ""
    lines = [f"Migrating: {clock(now.elapsed)} elapsed{left}"]
    lines += [_phase_line(phase) for phase in now.phases]
    filled = round(pace.share * 30)
    rows = f"{now.moved:,} of {now.total:,} rows moved, {pace.rate:,.0f} rows/s"
    lines.append(f"  [{'#' * filled}{'.' * (30 - filled)}] {pace.share:4.0%}  {rows}")
    lines.append(f"  now: {', '.join(now.running) or 'waiting for Airflow'}")
    return [line[:width] for line in lines]


def _phase_line(phase: Phase) -> str:
    line = f"  {phase.name:<12}{phase.state:<10}"
    if phase.count:
        line += f"{count(phase.count, 'batch')}: {_by_state(phase)};"
        line += f" {phase.moved:,} of {phase.planned:,} rows"
    return line


def _by_state(phase: Phase) -> str:
    known = [state for state in _STATES if state in phase.batches]
    other = sorted(set(phase.batches) - set(known))
    return ", ".join(f"{phase.batches[state]} {state}" for state in known + other)


def one_line(now: Snapshot, pace: Pace) -> str:
    """The same in one line, for a log."""
    left = f", about {clock(pace.left)} left" if pace.left is not None else ""
    phases = "; ".join(
        f"{phase.name} {phase.state}" + (f" ({_by_state(phase)})" if phase.count else "")
        for phase in now.phases
    )
    return (
        f"{clock(now.elapsed):>6} {pace.share:4.0%}  {now.moved:,}/{now.total:,} rows, "
        f"{pace.rate:,.0f} rows/s{left}; {phases or 'planning'}"
    )


class Screen:
    """Shows snapshots: redrawn in place on a terminal, a line every few seconds elsewhere."""

    def __init__(self, out: TextIO | None = None, every: float = 5.0) -> None:
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._every = every
        self._height = 0
        self._last = -every
        self._pacer = Pacer()

    def show(self, now: Snapshot) -> None:
        """Show one moment."""
        pace = self._pacer.pace(now)
        if self._terminal:
            # One less than the width: a full line would wrap, and the next drawing start too low.
            self._draw(picture(now, pace, shutil.get_terminal_size((100, 24)).columns - 1))
        elif now.elapsed - self._last >= self._every:
            self._last = now.elapsed
            print(one_line(now, pace), file=self._out, flush=True)

    def leave(self) -> None:
        """What comes next goes below the last drawing."""
        self._height = 0

    def _draw(self, lines: Iterable[str]) -> None:
        lines = list(lines)
        back = f"\x1b[{self._height}F" if self._height else ""
        text = "".join(f"{line}\x1b[K\n" for line in lines)
        print(f"{back}\x1b[J{text}", end="", file=self._out, flush=True)
        self._height = len(lines)
