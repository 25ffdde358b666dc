"""Run a migration in a process of its own, kill it or its server at chosen moments, and look at what is left.

A campaign repeats: start the migration, cut it somewhere, check that nothing is half done, start it again. Whenever
a run gets to its end, all that it left must be what a run without cuts leaves; then the next round begins with
an empty target.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
from psycopg import sql

from demo.stack.postgres import EmbeddedPostgres
from sinew.engine import ledger
from sinew.engine.planner import plan_phase, prepare
from sinew.engine.prove import prove_phase
from sinew.engine.session import Endpoint, connect
from sinew.engine.settle import settle
from sinew.engine.steps import STEPS, Context, run_step
from sinew.errors import RetriableError, SinewError
from sinew.spec.reader import parse_mapping
from tests.kit_picture import half_done, picture

# A clean process that has imported the engine once; each run is a fork of it, started in milliseconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["tests.kit_crash", "sinew.engine.soda_session", "sinew.engine.read_back", "pandas"]
)

# A run that does not end by itself after its server went is a fault, not a slow machine.
_PATIENCE_S = 120
_POLL_S = 0.002


# --- one run, in a process of its own


@dataclass(frozen=True)
class Job:
    """What a run needs, in a form that crosses the border of a process."""

    mapping: str
    include: str
    source: Endpoint
    home: Endpoint
    rows: int
    lanes: int = 2
    spoil: Callable[[], None] | None = None

    def context(self) -> Context:
        """The context of this job's steps."""
        migration = parse_mapping(self.mapping, include=Path(self.include))
        return Context(migration, self.source, self.home, self.lanes)

    def spoiled(self, spoil: Callable[[], None]) -> Job:
        """The same, with an engine in which a rule is broken."""
        return replace(self, spoil=spoil)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: '' when complete, else the error's class and text. A killed one has no outcome."""

    error: str = ""
    text: str = ""
    retriable: bool = False


def start(
    job: Job, work: Callable[[Context, int], object] | None = None
) -> tuple[BaseProcess, Connection]:
    """Start a run; the process sends one Outcome. ``work`` is another thing to do than the whole migration."""
    _import_once()
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_work, args=(job, work, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver


@cache
def _import_once() -> None:
    """Start the process that all runs are forks of; it looks for modules where its environment says."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def _work(job: Job, work: Callable[[Context, int], object] | None, sender: Connection) -> None:
    os.environ["SINEW_INCLUDE"] = job.include
    logging.disable(logging.CRITICAL)
    if job.spoil is not None:
        job.spoil()
    try:
        (work or _migrate)(job.context(), job.rows)
    except SinewError as error:
        sender.send(Outcome(type(error).__name__, str(error), isinstance(error, RetriableError)))
    except BaseException as error:
        sender.send(Outcome(type(error).__name__, str(error)))
    else:
        sender.send(Outcome())


def _migrate(context: Context, rows: int) -> None:
    """The whole migration, as the driver does it, but in this one process: a kill ends all that works on it."""
    prepare(context)
    for phase in context.migration.phases:
        for batch_ids in plan_phase(context, phase.name, rows).values():
            with ThreadPoolExecutor(context.lanes) as pool:
                list(pool.map(partial(_whole_way, context), batch_ids))
        settle(context, phase.name)
        prove_phase(context, phase.name)


def _whole_way(context: Context, batch_id: int) -> None:
    for step in STEPS:
        run_step(context, batch_id, step)


def _nothing(context: Context, rows: int) -> None:
    """What a process does that is only to be started."""


def ended(process: BaseProcess, receiver: Connection) -> Outcome | None:
    """Wait for a run's end; None when it was killed before it could tell."""
    process.join(_PATIENCE_S)
    if process.is_alive():
        process.kill()
        raise AssertionError(
            f"a run went on for {_PATIENCE_S} s and more; it should have ended long ago"
        )
    try:
        return receiver.recv() if receiver.poll() else None
    except EOFError:
        return None
    finally:
        receiver.close()


# --- moments


@dataclass(frozen=True)
class Moment:
    """When to cut. ``kind``: a key of _LOCKS (exactly there), 'seen' (a step has begun) or 'after' (seconds)."""

    kind: str
    what: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.what}".strip()


# Triggers wait for a lock that the campaign holds: the run stands still exactly there.
_LOCKS = {"before": 1, "commit": 2, "claim": 3}
_STATES = (
    "extracted",
    "transformed",
    "checked",
    "loaded",
    "validated",
    "running",
    "complete",
    "planned",
)
_STOPS = sql.SQL(
    """
    CREATE SCHEMA crash;
    CREATE FUNCTION crash.stop() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(
            19000 + TG_ARGV[0]::int, coalesce(array_position({states}::text[], NEW.state), 0));
        RETURN NEW;
    END $$;
    CREATE TRIGGER crash_before BEFORE UPDATE ON sinew.batch FOR EACH ROW
        WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION crash.stop(1);
    CREATE CONSTRAINT TRIGGER crash_commit AFTER UPDATE ON sinew.batch DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION crash.stop(2);
    CREATE TRIGGER crash_claim BEFORE UPDATE ON sinew.batch FOR EACH ROW
        WHEN (NEW.attempt <> OLD.attempt) EXECUTE FUNCTION crash.stop(3);
    CREATE TRIGGER crash_before BEFORE UPDATE ON sinew.phase FOR EACH ROW
        WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION crash.stop(1);
    CREATE CONSTRAINT TRIGGER crash_commit AFTER UPDATE ON sinew.phase DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION crash.stop(2);
    """
).format(states=sql.Literal(list(_STATES)))


def place_stops(home: Endpoint) -> None:
    """Make the ledger, and in it the places where a run can be made to stand still."""
    with connect(home) as conn:
        ledger.upgrade(conn)
        conn.execute(_STOPS)


def boundaries() -> list[Moment]:
    """Every border between two steps: before the record of one, in its commit, and before the next one's claim."""
    steps = ("extracted", "transformed", "checked", "loaded", "validated")
    found = [Moment(kind, state) for state in steps for kind in ("before", "commit")]
    found += [Moment("claim", state) for state in steps[:-1]]
    return found + [
        Moment(kind, state) for state in ("running", "complete") for kind in ("before", "commit")
    ]


@contextmanager
def awaited(moment: Moment, home: Endpoint) -> Iterator[Callable[[BaseProcess], int | None]]:
    """A function that waits for the moment: 0, or the backend that stands there; None when the run ended before."""
    if moment.kind == "after":
        yield lambda process: None if _joined(process, moment.seconds) else 0
        return
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        if moment.kind == "seen":
            query, values = _SEEN, (f"sinew {moment.what}",)
        else:
            place = (19000 + _LOCKS[moment.kind], _STATES.index(moment.what) + 1)
            conn.execute("SELECT pg_advisory_lock(%s, %s)", place)
            query, values = _STANDING, place  # type: ignore[assignment]
        yield lambda process: _poll(process, conn, query, values)


_SEEN = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
)
_STANDING = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = %s AND objid = %s "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _poll(
    process: BaseProcess, conn: psycopg.Connection, query: str, values: tuple[object, ...]
) -> int | None:
    while process.is_alive():
        row = conn.execute(query, values).fetchone()  # type: ignore[call-overload]
        if row:
            return int(row[0])
        time.sleep(_POLL_S)
    return None


def _joined(process: BaseProcess, seconds: float) -> bool:
    process.join(seconds)
    return not process.is_alive()


# --- victims

VICTIMS = ("worker", "session", "backend", "server", "postmaster")


def strike(
    victim: str, server: EmbeddedPostgres, home: Endpoint, process: BaseProcess, pid: int
) -> bool:
    """Kill one of VICTIMS; True when there was one to kill.

    A backend that dies by SIGKILL restarts all of Postgres. The postmaster's death alone makes every session roll back
    and end, which nothing logs any more; with the server all of its processes go at once.
    """
    if victim == "worker":
        process.kill()
        return True
    if victim in ("server", "postmaster"):
        _kill_postmaster(server) if victim == "postmaster" else server.kill()
        server.start()
        return True
    pid = pid or _any_session(home, process)
    if not pid:
        return False
    if victim == "backend":
        os.kill(pid, signal.SIGKILL)
        _wait_for(home)
    else:
        with psycopg.connect(home.conninfo, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    return True


def _kill_postmaster(server: EmbeddedPostgres) -> None:
    postmaster = server.postmaster()
    assert postmaster is not None
    postmaster.kill()
    while server.running:
        time.sleep(_POLL_S)


def _any_session(home: Endpoint, process: BaseProcess) -> int:
    """A session of the run, at the source or at home; 0 when the run ended."""
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        found = _poll(
            process,
            conn,
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'sinew %%' "
            "AND %s ORDER BY random() LIMIT 1",
            (True,),
        )
    return found or 0


def _wait_for(home: Endpoint) -> None:
    """Until the server, which lost a backend, has recovered."""
    deadline = time.monotonic() + 60
    time.sleep(0.1)
    while True:
        try:
            psycopg.connect(home.conninfo, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


# --- the campaign


@dataclass(frozen=True)
class Cut:
    """One kill: who, and when."""

    victim: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.victim}, {self.moment}"


@dataclass
class Campaign:
    """A server of its own, a job, an empty target to copy, and what was killed so far."""

    server: EmbeddedPostgres
    job: Job
    blank: str
    tell: Callable[[str], None] = lambda line: None
    done: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    seconds: float = 0.0

    def wanted(self) -> dict[str, list[str]]:
        """What a run without cuts leaves."""
        job = self._new_round()
        ended(*start(job, _nothing))  # the first process of all imports the engine
        began = time.monotonic()
        outcome = ended(*start(replace(job, spoil=None)))
        assert outcome == Outcome(), outcome
        self.seconds = time.monotonic() - began
        _assert_nothing_half_done(job, "a run without cuts")
        return picture(job.context())

    def fight(self, cuts: Sequence[Cut], wanted: dict[str, list[str]] | None = None) -> None:
        """Make every cut, in as many rounds as it takes; each round must end as if nothing had happened."""
        left = list(cuts)
        wanted = self.wanted() if wanted is None else wanted
        while left:
            made = len(left)
            self._round(left, wanted)
            assert len(left) < made, f"none of these moments came: {', '.join(map(str, left))}"

    def _new_round(self) -> Job:
        self.rounds += 1
        name = f"round_{self.rounds}"
        self.server.drop_database(name)
        with self.server.connect() as conn:
            conn.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(self.blank)
                )
            )
        home = Endpoint(self.job.home.conn_id, self.server.dsn(name))
        place_stops(home)
        return replace(self.job, home=home)

    def _round(self, left: list[Cut], wanted: dict[str, list[str]]) -> None:
        """One migration, cut until no moment that is left comes any more; takes the cuts that it made off the list."""
        job, waiting = self._new_round(), list(left)
        while waiting:
            cut = waiting.pop(0)
            outcome, made = self._cut(job, cut)
            if made:
                left.remove(cut)
                self.done[f"{cut.victim} {cut.moment.kind}"] += 1
            if outcome == Outcome():
                break
        else:
            outcome = ended(*start(job))
        assert outcome == Outcome(), outcome
        found = picture(job.context())
        for name, rows in wanted.items():
            lacking, more = (
                Counter(rows) - Counter(found[name]),
                Counter(found[name]) - Counter(rows),
            )
            assert found[name] == rows, (
                f"{name} differs after the cuts of round {self.rounds}",
                lacking,
                more,
            )
        _assert_nothing_half_done(job, f"round {self.rounds}")
        self.server.drop_database(f"round_{self.rounds}")
        self.tell(f"round {self.rounds}: as without kills; {sum(self.done.values())} kills so far")

    def _cut(self, job: Job, cut: Cut) -> tuple[Outcome | None, bool]:
        """Start a run and make one cut. Returns how the run ended, and whether it was cut."""
        with awaited(cut.moment, job.home) as wait:
            process, receiver = start(job)
            pid = wait(process)
            made = pid is not None and strike(cut.victim, self.server, job.home, process, pid)
        outcome = ended(process, receiver)
        if outcome is not None and outcome.error:
            assert made and cut.victim != "worker", f"{cut}: {outcome}"
            assert outcome.retriable, f"{cut}: {outcome}"
        self.tell(f"{cut}: {'cut' if made else 'did not come'}")
        _assert_nothing_half_done(job, str(cut))
        return outcome, made


def _assert_nothing_half_done(job: Job, when: str) -> None:
    left = half_done(job.context())
    assert left == [], f"{when}: {left}"


def mixed(moments: Iterable[Moment], victims: Sequence[str], seed: int) -> list[Cut]:
    """Each moment with a victim, in turn, shuffled in a way that the seed repeats."""
    shuffled = random.Random(seed)
    cuts = [Cut(victims[i % len(victims)], moment) for i, moment in enumerate(moments)]
    shuffled.shuffle(cuts)
    return cuts
