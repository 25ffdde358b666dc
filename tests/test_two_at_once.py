"""Two that work on one batch: one works, the other waits or leaves no trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from sinew.engine import batch as batches
from sinew.engine import check, extract, load, steps, transform, validate
from sinew.engine.batch import BATCH_LOCK, Batch, get_batch, held
from sinew.engine.driver import run
from sinew.engine.ledger import planned
from sinew.engine.planner import plan_phase, prepare
from sinew.engine.session import connect
from sinew.engine.steps import STEPS, Context, run_step
from sinew.errors import FencedError, InterruptedStepError
from tests.fix_shop import MAPPING, TARGET, Shop
from tests.kit_crash import Job, Outcome, ended, start
from tests.kit_picture import half_done, picture
from tests.kit_spoil import any_attempt_may_commit

MODULES = dict(zip(STEPS, (extract, transform, check, load, validate), strict=True))


def planned_batch(context: Context, entity: str = "customers") -> int:
    """Plan the whole shop as one phase; the batch of one entity."""
    prepare(context)
    return plan_phase(context, "all", 10_000)[entity][0]


def one_phase(shop: Shop) -> Context:
    return shop.context(cohort="", rows=10_000, parallelism=2)


def before(step: str) -> tuple[str, ...]:
    return STEPS[: STEPS.index(step)]


# --- two copies of one step


def step_of(batch_id: int, step: str, context: Context, rows: int) -> None:
    run_step(context, batch_id, step)


@pytest.mark.timeout(120)
def test_of_two_copies_of_each_step_one_works_and_the_other_waits(shop: Shop) -> None:
    context = one_phase(shop)
    batch_id = planned_batch(context)
    text = MAPPING.format(rows=10_000, cohort="", strategy="trickle", hash="auto", existing="fail")
    job = Job(text, str(shop.include), shop.source, shop.home, rows=10_000)
    for step in STEPS:
        work = partial(step_of, batch_id, step)
        with psycopg.connect(shop.home.conninfo, autocommit=True) as conn:
            conn.execute("SELECT pg_advisory_lock(%s, %s)", (BATCH_LOCK, batch_id))
            copies = [start(job, work) for _ in range(2)]
            wait_until(
                shop,
                "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
            )
        assert [ended(*copy) for copy in copies] == [Outcome(), Outcome()]
    assert shop.new(f"SELECT count(*) FROM sinew.gate WHERE batch_id = {batch_id}") == [(1,)]
    assert shop.new(f"SELECT state, attempt FROM sinew.batch WHERE id = {batch_id}") == [
        ("validated", 10)
    ]
    found = finished(context)
    assert found["target customers"] and found == finished_alone(shop)


def test_a_step_that_waits_too_long_for_another_says_that_it_may_be_tried_again(shop: Shop) -> None:
    batch_id = planned_batch(one_phase(shop))
    with connect(shop.home) as first, held(first, batch_id):
        with (
            connect(shop.home, lock_timeout="100ms") as second,
            pytest.raises(InterruptedStepError, match="is held by"),
        ):
            with held(second, batch_id):
                pass


def test_two_whole_migrations_at_once_leave_what_one_leaves(shop: Shop) -> None:
    context = one_phase(shop)
    prepare(context)
    plan_phase(context, "all", 10_000)
    failed: list[BaseException] = []
    both = [threading.Thread(target=kept, args=(failed, lambda: run(context))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [
        error for error in failed if not isinstance(error, FencedError | InterruptedStepError)
    ] == []
    assert finished(context) == finished_alone(shop)


# --- a zombie: it lost its batch, and works on


class Zombie(threading.Thread):
    """Does a step of a batch that it no longer holds, and stands still just before it records its work."""

    def __init__(
        self, context: Context, batch_id: int, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        super().__init__(daemon=True)
        self._context, self._batch_id = context, batch_id
        self.standing, self.go_on = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        monkeypatch.setattr(MODULES[step], "advance", self._advance(batches.advance))

    def _advance(self, known: Callable[..., None]) -> Callable[..., None]:
        def waiting(home: psycopg.Connection, batch: Batch, *args: Any, **values: Any) -> None:
            if threading.current_thread() is self:
                self.standing.set()
                assert self.go_on.wait(60)
            known(home, batch, *args, **values)

        return waiting

    def run(self) -> None:
        try:
            with connect(self._context.home, step="zombie") as home:
                with held(home, self._batch_id) as batch:
                    pass
                plan = planned(home, self._context.migration, batch.entity).plan
                steps._next(self._context, home, plan, batch)
        except BaseException as error:
            self.error = error
        finally:
            self.standing.set()

    def resume(self) -> BaseException | None:
        """Let it record; returns what that raised."""
        self.go_on.set()
        self.join(60)
        return self.error


@pytest.mark.parametrize("step", STEPS)
def test_a_zombie_that_resumes_after_its_batch_was_taken_over_is_fenced_off(
    shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = one_phase(shop)
    batch_id = planned_batch(context)
    for earlier in before(step):
        run_step(context, batch_id, earlier)
    zombie = Zombie(context, batch_id, step, monkeypatch)
    zombie.start()
    assert zombie.standing.wait(60)
    # The retry claims the batch, and may wait for rows that the zombie's transaction holds.
    failed: list[BaseException] = []
    retry = threading.Thread(target=kept, args=(failed, lambda: run_step(context, batch_id, step)))
    retry.start()
    wait_until(shop, _CLAIMED.format(attempt=len(before(step)) + 2, batch=batch_id))
    # In a snapshot of its own (validate) it already fails to touch the row that the retry has claimed.
    assert isinstance(zombie.resume(), FencedError | InterruptedStepError)
    retry.join(60)
    assert failed == []
    assert half_done(context) == []
    assert finished(context) == finished_alone(shop)


_CLAIMED = "SELECT attempt = {attempt} FROM sinew.batch WHERE id = {batch}"


def late_record(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> tuple[BaseException | None, str]:
    """A zombie judges a batch and records it after the batch was loaded; its error, and the batch's state then."""
    context = one_phase(shop)
    batch_id = planned_batch(context)
    for step in ("extract", "transform"):
        run_step(context, batch_id, step)
    with connect(shop.home) as home:
        with held(home, batch_id) as batch:
            pass
        run_step(context, batch_id, "load")
        error: BaseException | None = None
        try:
            check.check(shop.home, home, planned(home, context.migration, "customers").plan, batch)
        except FencedError as found:
            error = found
        return error, get_batch(home, batch_id).state


def test_a_verdict_that_comes_after_the_load_is_not_recorded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, state = late_record(shop, monkeypatch)
    assert isinstance(error, FencedError) and state == "loaded"
    assert shop.new("SELECT count(*) FROM sinew.gate") == [(1,)]


def test_without_the_check_of_attempts_it_would_take_the_batch_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "statement", batches.statement)
    any_attempt_may_commit()
    assert late_record(shop, monkeypatch) == (None, "checked")


# --- how these tests wait and compare


def kept(failed: list[BaseException], work: Callable[[], object]) -> None:
    try:
        work()
    except BaseException as error:
        failed.append(error)


def wait_until(shop: Shop, query: str) -> None:
    deadline = time.monotonic() + 60
    while shop.new(query) != [(True,)]:
        assert time.monotonic() < deadline, f"this never became true: {query}"
        time.sleep(0.05)


def finished(context: Context) -> dict[str, list[str]]:
    """All that is there once the rest of the migration ran as well."""
    run(context)
    return picture(context)


def finished_alone(shop: Shop) -> dict[str, list[str]]:
    """The same for a migration that nothing disturbed, in the same databases, begun anew."""
    shop.new("DROP SCHEMA shop, sinew, sinew_stage, sinew_rows CASCADE")
    shop.new(TARGET)
    return finished(one_phase(shop))
