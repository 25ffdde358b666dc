"""The demo without its servers: what it shows, what it refuses, and that it notices what is wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from demo.__main__ import parse
from demo.legacy import Manifest
from demo.show import ledger
from demo.show.databases import Wanted, prepare
from demo.show.errors import DemoError
from demo.show.ledger import Phase
from demo.show.outcome import Outcome, gather, problems
from demo.show.progress import Pacer, Screen, Snapshot, picture
from demo.show.rejected_lines import write_csv
from demo.show.run import Run, last_error, start_or_join
from demo.show.telling import tell
from demo.stack.postgres import EmbeddedPostgres
from sinew.engine.driver import run
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.hooks.mappings import read_migration

SCALE = 0.02
WANTED = Wanted(scale=SCALE)
Databases = tuple[psycopg.Connection, psycopg.Connection]


def quiet(line: str) -> None:
    """Say nothing."""


# --- a migration that has been run


@contextmanager
def connected(pg: EmbeddedPostgres, *names: str) -> Iterator[Databases]:
    for name in names:
        pg.ensure_database(name)
    with pg.connect(names[0]) as source, pg.connect(names[1]) as home:
        yield source, home
    for name in names:
        pg.drop_database(name)


@pytest.fixture(scope="module")
def moved(
    pg: EmbeddedPostgres,
) -> Iterator[tuple[psycopg.Connection, psycopg.Connection, Manifest]]:
    with connected(pg, "demo_legacy", "demo_commerce") as (source, home):
        manifest = prepare(source, home, WANTED, "postgres", quiet)
        run(
            Context(
                read_migration("retail"),
                Endpoint("legacy_retail", pg.dsn("demo_legacy")),
                Endpoint("commerce", pg.dsn("demo_commerce")),
            )
        )
        yield source, home, manifest


def spoilt(
    moved: tuple[psycopg.Connection, psycopg.Connection, Manifest], statement: LiteralString
) -> str:
    """What the demo says of a wrong that one statement does to the new database."""
    source, home, manifest = moved
    with home.transaction(force_rollback=True):
        home.execute(statement)
        return "\n".join(problems(gather(source, home), manifest))


class TestOutcome:
    def test_every_figure_adds_up_after_a_migration(self, moved: Any) -> None:
        source, home, manifest = moved
        assert problems(gather(source, home), manifest) == []

    def test_each_rejected_line_is_listed_with_its_amount_and_they_sum_up(
        self, moved: Any, tmp_path: Path
    ) -> None:
        source, home, manifest = moved
        found = gather(source, home)
        assert len(found.lines) == manifest.of("order_lines").rejected
        assert int(found.rejected_amount * 100) == manifest.rejected_sales_cents
        write_csv(list(found.lines), tmp_path / "lines.csv")
        assert len((tmp_path / "lines.csv").read_text().splitlines()) == len(found.lines) + 1

    def test_the_end_tells_rows_gates_money_and_rejects(self, moved: Any) -> None:
        source, home, manifest = moved
        found: Outcome = gather(source, home)
        text = "\n".join(tell(found, manifest, Path("lines.csv")))
        assert f"{manifest.of('order_lines').source_rows:,}" in text
        assert "Rejects are as planted." in text
        assert "Lifetime value of every customer" in text and ", equal" in text

    def test_a_row_that_left_the_target_is_noticed(self, moved: Any) -> None:
        wrong = spoilt(
            moved,
            "DELETE FROM commerce.order_lines WHERE ctid IN "
            "(SELECT ctid FROM commerce.order_lines WHERE sales_value > 0 LIMIT 1)",
        )
        assert "order_lines: " in wrong and "rows in the target" in wrong
        assert "that arrived" in wrong

    def test_a_cent_too_much_is_noticed(self, moved: Any) -> None:
        wrong = spoilt(
            moved,
            "UPDATE commerce.order_lines SET sales_value = sales_value + 0.01 WHERE ctid IN "
            "(SELECT ctid FROM commerce.order_lines LIMIT 1)",
        )
        assert "that arrived" in wrong

    def test_a_batch_without_a_gate_is_noticed(self, moved: Any) -> None:
        wrong = spoilt(moved, "DELETE FROM sinew.promotion WHERE batch_id = 1")
        assert "passed no gate" in wrong

    def test_a_comparison_that_differs_is_noticed(self, moved: Any) -> None:
        wrong = spoilt(moved, "UPDATE sinew.comparison SET equal = false")
        assert "source and target differ" in wrong and "lifetime value" in wrong

    def test_a_comparison_that_was_not_made_is_noticed(self, moved: Any) -> None:
        wrong = spoilt(moved, "DELETE FROM sinew.comparison")
        assert "it was not compared" in wrong and "no business check was made" in wrong

    def test_another_number_of_rejects_than_planted_is_noticed(self, moved: Any) -> None:
        wrong = spoilt(moved, "DELETE FROM sinew.reject WHERE rule = 'duplicate'")
        assert "customers: 0 rejected rows by rule duplicate" in wrong

    def test_a_phase_that_is_not_complete_is_noticed(self, moved: Any) -> None:
        assert "phase rest is failed" in spoilt(
            moved, "UPDATE sinew.phase SET state = 'failed' WHERE name = 'rest'"
        )


class TestDatabases:
    def test_what_is_in_place_stays_in_place(self, moved: Any) -> None:
        source, home, manifest = moved
        lines: list[str] = []
        assert prepare(source, home, WANTED, "postgres", lines.append) == manifest
        assert not any("built" in line for line in lines)

    def test_a_ledger_of_other_options_is_refused_with_what_to_do(self, moved: Any) -> None:
        source, home, _ = moved
        with pytest.raises(DemoError, match="--scale 0.02.*make demo DEMO=--fresh"):
            prepare(source, home, Wanted(scale=0.03), "postgres", quiet)

    def test_a_ledger_of_another_legacy_database_is_refused(self, moved: Any) -> None:
        source, home, _ = moved
        with home.transaction(force_rollback=True):
            home.execute("COMMENT ON DATABASE demo_commerce IS 'Migrated from something else'")
            with pytest.raises(DemoError, match="another legacy database"):
                prepare(source, home, WANTED, "postgres", quiet)

    def test_a_scale_with_too_few_rows_is_refused_in_words(self, pg: EmbeddedPostgres) -> None:
        with (
            connected(pg, "demo_small", "demo_smaller") as (source, home),
            pytest.raises(DemoError, match="take a larger one"),
        ):
            prepare(source, home, Wanted(scale=0.005), "postgres", quiet)

    def test_fresh_forgets_the_ledger_and_makes_both_databases_anew(
        self, pg: EmbeddedPostgres
    ) -> None:
        with connected(pg, "demo_old", "demo_new") as (source, home):
            prepare(source, home, WANTED, "postgres", quiet)
            home.execute("CREATE SCHEMA sinew CREATE TABLE batch (mapping text)")
            home.execute("INSERT INTO sinew.batch VALUES ('retail')")
            assert ledger.has_ledger(home)
            prepare(source, home, Wanted(scale=SCALE, fresh=True), "postgres", quiet)
            assert not ledger.has_ledger(home)


# --- progress


def moment(elapsed: float, moved: int, tasks_done: int, state: str = "running") -> Snapshot:
    phase = Phase("pilot", state, {"validated": 1, "planned": 1}, 1000, moved, float(moved))
    return Snapshot(elapsed, [phase], 1000, 100, tasks_done, ["pilot.orders.load"])


class TestProgress:
    def test_the_time_left_follows_from_the_time_spent(self) -> None:
        pacer = Pacer()
        pacer.pace(moment(0, 0, 0))
        left = pacer.pace(moment(60, 500, 50)).left
        assert left == pytest.approx(60)

    def test_nothing_is_foretold_before_there_is_something_to_judge_by(self) -> None:
        pacer = Pacer()
        assert pacer.pace(moment(0, 0, 0)).left is None
        assert pacer.pace(moment(60, 0, 1)).left is None

    def test_rows_of_an_earlier_run_are_no_pace_of_this_one(self) -> None:
        pacer = Pacer()
        assert pacer.pace(moment(0, 1000, 0)).share == 0
        assert pacer.pace(moment(10, 1000, 50)).rate == 0

    def test_a_batch_that_is_opened_again_makes_no_negative_rate(self) -> None:
        pacer = Pacer()
        pacer.pace(moment(0, 1000, 0))
        assert pacer.pace(moment(10, 0, 1)).rate == 0

    def test_the_picture_has_phases_batches_rows_and_what_runs(self) -> None:
        now = moment(60, 500, 50)
        text = "\n".join(picture(now, Pacer().pace(now), 200))
        for part in ("pilot", "2 batches: 1 planned, 1 validated", "500 of 1,000", "orders.load"):
            assert part in text

    def test_a_log_gets_a_line_every_few_seconds_and_no_control_characters(self) -> None:
        out = io.StringIO()
        screen = Screen(out, every=5)
        for elapsed in range(10):
            screen.show(moment(elapsed, 10 * elapsed, elapsed))
        assert len(out.getvalue().splitlines()) == 2
        assert "\x1b" not in out.getvalue()

    def test_a_terminal_is_drawn_again_in_place(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        out = Terminal()
        screen = Screen(out)
        screen.show(moment(0, 0, 0))
        screen.show(moment(1, 0, 0))
        assert "\x1b[4F" in out.getvalue()


# --- options and Airflow


class TestOptions:
    def test_make_hands_options_over_by_a_variable(self) -> None:
        options = parse([], "--scale 0.1 --stop")
        assert (options.scale, options.stop, options.fresh) == (0.1, True, False)

    @pytest.mark.parametrize("share", ["0", "1.5", "much"])
    def test_a_scale_that_is_no_share_is_refused(self, share: str) -> None:
        with pytest.raises(SystemExit):
            parse(["--scale", share])


class Recorded:
    """An Airflow that gives recorded answers, by the beginning of the path."""

    url = "http://airflow.example"

    def __init__(self, answers: dict[tuple[str, str], Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def api(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((method, path))
        return next(
            answer
            for (verb, part), answer in self.answers.items()
            if verb == method and part in path
        )


class TestRun:
    def test_a_run_that_is_at_work_is_joined_instead_of_started_twice(self) -> None:
        airflow = Recorded({("GET", "dagRuns"): {"dag_runs": [{"dag_run_id": "manual one"}]}})
        found = start_or_join(airflow)
        assert found.joined and found.url.endswith("/dags/migrate__retail/runs/manual%20one")
        assert all(method == "GET" for method, _ in airflow.asked)

    def test_a_failed_batch_is_told_in_the_ledgers_words(self, moved: Any) -> None:
        _, home, _ = moved
        task = {
            "task_id": "pilot.customers.check",
            "map_index": 0,
            "rendered_map_index": "customers batch 1",
            "try_number": 1,
        }
        airflow = Recorded({("GET", "state=failed"): {"task_instances": [task]}})
        with home.transaction(force_rollback=True):
            home.execute("UPDATE sinew.batch SET error = 'gate failed: 1 of 2' WHERE id = 1")
            (failure,) = Run(airflow, "r", False).failures(home)
        assert failure.message == "gate failed: 1 of 2"
        assert failure.url.endswith("/runs/r/tasks/pilot.customers.check/mapped/0")

    def test_another_failed_task_is_told_in_its_logs_words(self, moved: Any) -> None:
        _, home, _ = moved
        task = {
            "task_id": "plan",
            "map_index": -1,
            "rendered_map_index": None,
            "try_number": 3,
        }
        detail = [{"exc_type": "AirflowFailException", "exc_value": "no privilege"}]
        log = [
            {"level": "info", "event": "hello"},
            {"level": "error", "event": "Task failed", "error_detail": detail},
        ]
        airflow = Recorded(
            {
                ("GET", "state=failed"): {"task_instances": [task]},
                ("GET", "logs/3"): {"content": log},
            }
        )
        (failure,) = Run(airflow, "r", False).failures(home)
        assert failure.message == "AirflowFailException: no privilege"

    def test_a_log_without_an_error_has_no_last_error(self) -> None:
        assert last_error([{"level": "info", "event": "hello"}]) == ""
