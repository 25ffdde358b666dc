"""``python -m demo``: bring everything up, migrate a year of retail data, and prove that it arrived."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from demo.legacy import Manifest
from demo.show import ledger, run
from demo.show.databases import Wanted, prepare
from demo.show.errors import DemoError
from demo.show.outcome import gather, problems
from demo.show.progress import Screen
from demo.show.rejected_lines import write_csv
from demo.show.syncs import run_syncs
from demo.show.telling import tell
from demo.show.words import clock
from demo.stack import Stack, StackError
from demo.stack.airflow_settings import USER

_AGAIN = "Run the demo again: it goes on where this stopped. Or begin anew: make demo DEMO=--fresh"
_INTERRUPTED = 130


def parse(arguments: Sequence[str], more: str = "") -> argparse.Namespace:
    """The options; ``more`` are those of the variable DEMO, for use with make."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        epilog='With make: make demo DEMO="--scale 0.1 --stop"',
    )
    parser.add_argument(
        "--scale", type=_share, default=1.0, help="share of the households, above 0 up to 1"
    )
    parser.add_argument(
        "--promotions", action="store_true", help="20.9 M rows more in the legacy database"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="throw away what was migrated, and begin anew"
    )
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument(
        "--keep-running", action="store_true", help="leave the servers running (the default)"
    )
    ending.add_argument("--stop", action="store_true", help="stop the servers at the end")
    return parser.parse_args([*shlex.split(more), *arguments])


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; allowed: above 0 up to 1")
    return share


class Demo:
    """One call of the demo."""

    def __init__(self, stack: Stack, options: argparse.Namespace) -> None:
        self.stack = stack
        self.options = options
        self._began = time.monotonic()
        self._took: dict[str, float] = {}

    def run(self) -> None:
        """All of it; raises DemoError or StackError when it does not end well."""
        with self._part("servers"):
            say("PostgreSQL and Airflow are started, unless they run ...")
            self.stack.up(say=lambda line: say(f"  {line}"))
            run.wait_for_dag(self.stack.airflow)
        say(f"Airflow: {self.stack.airflow.url}")
        with self._part("databases"):
            manifest = self._databases()
        with self._part("migration"):
            moved = self._migrate(manifest)
        with self._part("counting"):
            self._judge(manifest)
        with self._part("syncs"):
            run_syncs(self.stack, say, fresh=self.options.fresh)
        self._tell_end(moved)

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._took[name] = time.monotonic() - began

    @contextmanager
    def _connected(self) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
        # The legacy database is made by its owner; the migration itself only reads it.
        source = self.stack.postgres.dsn("legacy_retail")
        with (
            psycopg.connect(source, autocommit=True) as old,
            psycopg.connect(self.stack.dsn("commerce"), autocommit=True) as new,
        ):
            yield old, new

    def _databases(self) -> Manifest:
        wanted = Wanted(self.options.scale, self.options.promotions, self.options.fresh)
        if wanted.fresh:
            run.end_active_runs(self.stack.airflow)
        with self._connected() as (source, home):
            return prepare(source, home, wanted, "legacy", say)

    def _migrate(self, manifest: Manifest) -> int:
        """Move what is left to move; returns the number of batches that were worked on."""
        with self._connected() as (_, home):
            (before,) = home.execute("SELECT clock_timestamp()").fetchone() or (None,)
            known = ledger.has_ledger(home)
        found = run.start_or_join(self.stack.airflow)
        say(f"{'A run is at work' if found.joined else 'Run'}: {found.url}")
        total = sum(figures.source_rows for figures in manifest.figures)
        state = run.watch(found, self.stack.dsn("commerce"), total, Screen())
        with self._connected() as (_, home):
            if state != "success":
                raise DemoError(_failed(found, home))
            moved = ledger.worked_on_since(home, before) if known else len(ledger.accounts(home))
        return moved

    def _judge(self, manifest: Manifest) -> None:
        file = self.stack.home / "demo" / "rejected-lines.csv"
        with self._connected() as (source, home):
            found = gather(source, home)
        write_csv(list(found.lines), file)
        say("")
        for line in tell(found, manifest, short(file)):
            say(line)
        wrong = problems(found, manifest)
        if wrong:
            listed = "\n".join(f"  - {problem}" for problem in wrong)
            raise DemoError(f"It does not add up:\n{listed}\n{_AGAIN}")

    def _tell_end(self, moved: int) -> None:
        say("")
        if not moved:
            say("Everything is in place: nothing was moved, and all of it was proved once more.")
        parts = ", ".join(f"{name} {clock(seconds)}" for name, seconds in self._took.items())
        say(f"Done in {clock(time.monotonic() - self._began)} ({parts}).")
        with self._connected() as (_, home):
            for phase, number in ledger.reports(home).items():
                say(f"Report of phase {phase}: {self._report_url(number)}")
        password = short(self.stack.airflow.home / "passwords.json")
        say(f"Airflow: {self.stack.airflow.url}, user {USER}, password: cat {password}")
        if not self.options.stop:
            say("The servers go on running; `make down` stops them.")

    def _report_url(self, number: int) -> str:
        return f"{self.stack.airflow.url}/sinew/report/{run.DAG}/{number}"


def _failed(found: run.Run, home: psycopg.Connection) -> str:
    lines = [
        "The migration stopped; what it has moved so far stays, each batch whole or not at all."
    ]
    failures = found.failures(home)
    for failure in failures:
        lines += [f"  {failure.task}: {failure.message}", f"    {failure.url}"]
    if not failures:
        lines.append(f"  No task says why: somebody ended the run, or see {found.url}")
    return "\n".join([*lines, f"Mend what is said there. {_AGAIN}"])


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


def short(path: Path) -> Path:
    """The path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def main(arguments: Sequence[str]) -> int:
    """Run the demo: 0 when everything adds up, 1 when not, 130 when it was interrupted."""
    options = parse(arguments, os.environ.get("DEMO", ""))
    stack = Stack()
    try:
        Demo(stack, options).run()
        return 0
    except (DemoError, StackError, psycopg.Error) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. A run that has begun goes on in Airflow; `make demo` joins it again,")
        print("`make down` stops the servers, and a later `make demo` goes on where it stopped.")
        return _INTERRUPTED
    finally:
        if options.stop:
            stack.down()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
