"""DAGs of syncs as Airflow gets them: ids, graphs, schedules; windows that tile time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew.errors import (
    ConfigurationError,
    ServerBusyError,
    SpecError,
    ThrottledError,
    UnavailableError,
)
from sinew.spec.cron import cron_flaw, window_start
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_airflow import ROOT
from tests.fix_sync import MAPPING, write_include

STEPS = ["extract", "transform", "check", "load", "validate"]
SCHEDULE = 'schedule: {cron: "0 2 * * *", timezone: Europe/Berlin, start: 2026-01-01}\n'
HEAD = "target: {conn: commerce, schema: shop}\n"
SINCE = MAPPING.replace(
    "{by: window, from_parameter: updated_from, to_parameter: updated_to}",
    "{by: since, parameter: updated_since}",
)


def scheduled(schedule: str, text: str = MAPPING) -> str:
    """A mapping with a schedule."""
    return text.replace(HEAD, HEAD + schedule)


def dag_of(text: str) -> Any:
    """The DAG of a sync's text."""
    from sinew.syncbuild import build_dag

    return build_dag(parse_mapping(text, kind=Sync))


@pytest.fixture(scope="module")
def dag() -> Any:
    """The shop's orders with their lines, and something that refers to neither."""
    notes = """\
  notes:
    from: {resource: orders}
    key: [id]
    columns:
      id: {key: copy, do: [{cast: bigint}]}
"""
    return dag_of(scheduled(SCHEDULE) + notes)


class TestTheFile:
    def test_it_holds_a_dag_for_each_mapping_and_imports_without_error(self) -> None:
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(dag_folder=ROOT / "dags" / "syncs.py")
        assert bag.import_errors == {}
        names = {f.stem for f in (ROOT / "include" / "mappings" / "syncs").glob("*.yaml")}
        assert set(bag.dags) == {f"sync__{name}" for name in names}

    def test_a_task_builds_its_own_dag_though_another_mapping_is_broken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sinew.syncbuild import build_syncs

        write_include(tmp_path, MAPPING)
        (tmp_path / "mappings" / "syncs" / "broken.yaml").write_text("sync: [")
        monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
        assert list(build_syncs(only="sync__shop_orders")) == ["sync__shop_orders"]
        assert build_syncs(only="migrate__shop_orders") == {}
        with pytest.raises(SpecError, match=r"broken\.yaml:\d"):
            build_syncs()

    def test_a_migration_and_a_sync_may_not_bear_one_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sinew.syncbuild import build_syncs

        write_include(tmp_path, MAPPING)
        folder = tmp_path / "mappings" / "migrations"
        folder.mkdir()
        (folder / "any.yaml").write_text(
            "migration: shop_orders\nsource: {conn: a}\ntarget: {conn: b}\n"
            "entities: {t: {from: T, key: [i], columns: {i: {key: copy}}}}\n"
        )
        monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
        with pytest.raises(SpecError) as raised:
            build_syncs()
        assert "shop_orders.yaml:2:7: the sync 'shop_orders' is already declared" in str(
            raised.value
        )
        assert "any.yaml:1:12" in str(raised.value)

    def test_parsing_takes_less_than_a_second_and_loads_no_heavy_library(
        self, tmp_path: Path
    ) -> None:
        write_include(tmp_path, scheduled(SCHEDULE))
        code = (
            "import sys, time, json\n"
            "from airflow.sdk import DAG\n"
            "began = time.process_time()\n"
            "from sinew.syncbuild import build_syncs\n"
            "built = build_syncs()\n"
            "heavy = {'pandas', 'soda_core', 'psycopg', 'sqlglot', 'requests', 'jsonpath', 'authlib'}\n"
            "print(json.dumps([time.process_time() - began, sorted(heavy & set(sys.modules)), list(built)]))\n"
        )
        own = {"PYTHONPATH": str(ROOT / "plugins"), "SINEW_INCLUDE": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, heavy, built = json.loads(done.stdout.splitlines()[-1])
        assert built == ["sync__shop_orders"]
        assert heavy == []
        assert seconds < 1


class TestTheGraph:
    def test_each_entity_is_a_group_of_five_steps(self, dag: Any) -> None:
        group = dag.task_group.get_task_group_dict()["orders"]
        assert [child.split(".")[-1] for child in group.children] == STEPS
        tasks = [dag.get_task(f"orders.{step}") for step in STEPS]
        for above, task in zip(tasks, tasks[1:], strict=False):
            assert task.upstream_task_ids == {above.task_id}

    def test_an_entity_waits_for_its_parents_and_nobody_else(self, dag: Any) -> None:
        assert dag.get_task("orders.extract").upstream_task_ids == {"plan"}
        assert dag.get_task("lines.extract").upstream_task_ids == {"plan", "orders.validate"}
        assert dag.get_task("notes.extract").upstream_task_ids == {"plan"}

    def test_complete_waits_for_all_and_alone_tells_the_assets(self, dag: Any) -> None:
        complete = dag.get_task("complete")
        assert complete.upstream_task_ids == {f"{n}.validate" for n in ("orders", "lines", "notes")}
        outlets = {task.task_id: {a.uri for a in task.outlets} for task in dag.tasks}
        assert outlets.pop("complete") == {
            f"sinew://shop_orders/{name}" for name in ("orders", "lines", "notes")
        }
        assert set().union(*outlets.values()) == set()

    def test_nothing_runs_unless_all_before_it_has_succeeded(self, dag: Any) -> None:
        assert {task.trigger_rule.value for task in dag.tasks} == {"all_success"}

    def test_it_is_the_same_each_time_it_is_built(self) -> None:
        from airflow.serialization.serialized_objects import DagSerialization

        texts = [scheduled(SCHEDULE)] * 2
        built = [
            json.dumps(DagSerialization.to_dict(dag_of(text)), sort_keys=True) for text in texts
        ]
        assert built[0] == built[1]

    def test_its_page_is_the_plan_in_plain_words(self, dag: Any) -> None:
        assert dag.doc_md.startswith("# Sync shop_orders\n")
        for words in (
            "- From the API of connection `shop_api`",
            "- `0 2 * * *` in Europe/Berlin; a run covers the time since the moment before",
            "windows by `updated_from` and `updated_to`",
            "resource orders, elements of `$.lines[*]` → `shop.lines`",
            "| `city` | `city` |",
        ):
            assert words in dag.doc_md


class TestTheSchedule:
    def test_a_run_has_an_interval_and_the_first_holds_the_first_day_whole(self, dag: Any) -> None:
        found = intervals(dag, 2)
        assert found[0] == (
            datetime(2025, 12, 31, 1, tzinfo=UTC),
            datetime(2026, 1, 1, 1, tzinfo=UTC),
        )
        assert found[1][0] == found[0][1]

    def test_catchup_is_off_unless_asked_and_one_run_goes_at_a_time(self, dag: Any) -> None:
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        more = dag_of(
            scheduled(SCHEDULE.replace("start:", "catchup: true, max_active_runs: 4, start:"))
        )
        assert (more.catchup, more.max_active_runs) == (True, 4)

    def test_without_a_schedule_a_person_starts_it(self) -> None:
        assert not dag_of(MAPPING).timetable.can_be_scheduled

    def test_it_may_follow_what_others_have_loaded(self) -> None:
        dag = dag_of(scheduled("schedule: {after: [crm.people, retail.orders]}\n"))
        wanted = {asset.uri for asset in dag.timetable.asset_condition.objects}
        assert wanted == {"sinew://crm/people", "sinew://retail/orders"}

    def test_what_is_read_since_the_last_run_allows_no_backfill(self, dag: Any) -> None:
        assert dag.allowed_run_types is None
        allowed = dag_of(scheduled(SCHEDULE, SINCE)).allowed_run_types
        assert "backfill" not in allowed
        assert {"scheduled", "manual"} <= set(allowed)

    def test_a_backfill_that_comes_all_the_same_is_refused_by_its_plan(self) -> None:
        from sinew.operators.sync_planning import refuse_backfill

        with pytest.raises(ConfigurationError, match="orders, lines of shop_orders is read since"):
            refuse_backfill(parse_mapping(SINCE, kind=Sync), "backfill")
        refuse_backfill(parse_mapping(SINCE, kind=Sync), "scheduled")
        refuse_backfill(parse_mapping(MAPPING, kind=Sync), "backfill")

    def test_what_is_read_since_the_last_run_allows_no_catchup(self) -> None:
        text = scheduled(SCHEDULE.replace("start:", "catchup: true, start:"), SINCE)
        with pytest.raises(SpecError, match="remove `catchup`"):
            dag_of(text)

    def test_the_form_asks_for_a_window_and_takes_none(self, dag: Any) -> None:
        assert dag.params.dump() == {"from": None, "to": None, "ask_again": True}
        param = dag.params.get_param("from")
        assert param.resolve("2026-03-29T00:00:00+01:00") == "2026-03-29T00:00:00+01:00"


def intervals(dag: Any, count: int) -> list[tuple[datetime, datetime]]:
    """The first data intervals that Airflow would make runs for, with catchup."""
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    served = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    restriction = TimeRestriction(earliest=served.start_date, latest=None, catchup=True)
    found: list[Any] = []
    for _ in range(count):
        last = found[-1] if found else None
        info = served.timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=restriction
        )
        found.append(info.data_interval)
    return [(each.start, each.end) for each in found]


ZONES = [
    "Africa/Cairo", "Africa/Casablanca", "America/Havana", "America/New_York", "America/Sao_Paulo", "America/St_Johns",
    "Asia/Beirut", "Asia/Kolkata", "Asia/Tehran", "Atlantic/Azores", "Australia/Lord_Howe", "Europe/Berlin",
    "Pacific/Apia", "Pacific/Chatham", "UTC",
]  # fmt: skip
MINUTES = ["0", "30", "5,10", "*/30", "*/20", "17", "59"]
HOURS = ["*", "0", "1", "2", "3", "23", "*/2", "*/6", "1-3", "2,3", "0,12"]
DAYS = ["* * *", "* * 0", "1 * *", "* * 1-5"]


class TestWindowsTileTime:
    """Walks Airflow's own timetable: each interval begins where the last one ended, whatever the clock does."""

    @pytest.mark.parametrize(
        "cron", ["0 2 * * *", "30 2 * * *", "0 * * * *", "0 0 * * 1", "15 */6 * * *"]
    )
    @pytest.mark.parametrize("start", [date(2026, 3, 20), date(2026, 10, 15)])
    def test_across_both_changes_of_the_clock_in_berlin(self, cron: str, start: date) -> None:
        schedule = f'schedule: {{cron: "{cron}", timezone: Europe/Berlin, start: {start}}}\n'
        per_day = {"0 *": 24, "15": 4}.get(" ".join(cron.split()[: 1 if cron[0] == "1" else 2]), 1)
        found = intervals(dag_of(scheduled(schedule)), 21 * per_day)
        assert_tiled(found)
        lengths = {timedelta(seconds=(upper - lower).total_seconds()) for lower, upper in found}
        if per_day == 1 and "1" not in cron:
            assert lengths == {timedelta(days=1), timedelta(hours=23 if start.month == 3 else 25)}

    @settings(max_examples=60, deadline=None)
    @given(
        cron=st.builds("{} {} {}".format, *map(st.sampled_from, (MINUTES, HOURS, DAYS))),
        zone=st.sampled_from(ZONES),
        year=st.integers(2009, 2027),
        change=st.integers(0, 5),
    )
    def test_around_any_change_of_any_clock(
        self, cron: str, zone: str, year: int, change: int
    ) -> None:
        walk_around_a_change(cron, zone, year, change, 120)

    @pytest.mark.campaign
    @pytest.mark.timeout(3600)
    @settings(max_examples=3000, deadline=None)
    @given(
        cron=st.builds("{} {} {}".format, *map(st.sampled_from, (MINUTES, HOURS, DAYS))),
        zone=st.sampled_from(ZONES),
        year=st.integers(2009, 2027),
        change=st.integers(0, 5),
    )
    def test_around_very_many_changes(self, cron: str, zone: str, year: int, change: int) -> None:
        walk_around_a_change(cron, zone, year, change, 400)

    @pytest.mark.campaign
    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("zone", ZONES)
    @pytest.mark.parametrize("cron", ["0 2 * * *", "30 2 * * *", "0 */6 * * *", "0 1 * * 0"])
    def test_over_whole_years(self, cron: str, zone: str) -> None:
        if cron_flaw(cron, zone, date(2025, 1, 1)) is None:
            schedule = f'schedule: {{cron: "{cron}", timezone: {zone}, start: 2025-01-01}}\n'
            per_year = {"0 */6": 1461, "0 1": 53}.get(" ".join(cron.split()[:2]), 366)
            assert_tiled(intervals(dag_of(scheduled(schedule)), 2 * per_year))

    @pytest.mark.parametrize(
        ("cron", "zone", "words"),
        [
            ("*/30 2 * * *", "Europe/Berlin", "skips 02:00 to 03:00 on 2026-03-29"),
            ("0,30 2,3 * * *", "America/New_York", "skips 02:00 to 03:00 on 2026-03-08"),
            ("0 * * * 1-5", "Europe/Berlin", "every hour"),
            ("0 * * * *", "Australia/Lord_Howe", "every hour"),
            ("0 25 * * *", "UTC", "no cron expression"),
            ("0 2 * * * *", "UTC", "five fields"),
            ("0 2 31 2 *", "UTC", "no cron expression"),
        ],
    )
    def test_a_cron_expression_whose_windows_would_not_is_refused_with_its_place(
        self, cron: str, zone: str, words: str
    ) -> None:
        text = scheduled(f'schedule: {{cron: "{cron}", timezone: {zone}, start: 2026-01-01}}\n')
        with pytest.raises(SpecError) as raised:
            parse_mapping(text, file="m.yaml", kind=Sync)
        assert words in str(raised.value)
        assert str(raised.value).startswith("m.yaml:5:")

    def test_what_is_refused_really_leaves_a_gap(self) -> None:
        found = walked("*/30 2 * * *", "Europe/Berlin", datetime(2026, 3, 27, tzinfo=UTC), 12)
        assert any(
            after != before for (_, before), (after, _) in zip(found, found[1:], strict=False)
        )


def assert_tiled(found: list[tuple[datetime, datetime]]) -> None:
    for lower, upper in found:
        assert lower < upper
    for (_, before), (after, _) in zip(found, found[1:], strict=False):
        assert before == after


def walk_around_a_change(cron: str, zone: str, year: int, change: int, steps: int) -> None:
    """Walk over one of the clock's changes of a year, if there is any, with a cron that we allow."""
    moments = changes(zone, year)
    if cron_flaw(cron, zone, date(year, 1, 1)) or not moments:
        return
    at = moments[change % len(moments)]
    back = timedelta(days=45) if " 1 *" in cron else timedelta(days=9 if cron[-1] != "*" else 2)
    if cron.split()[1] == "*":
        back = timedelta(hours=6)
    found = walked(cron, zone, at - back, steps, at + back)
    assert found[0][0] < at < found[-1][1]
    assert_tiled(found)


def walked(
    cron: str, zone: str, start: datetime, steps: int, stop: datetime | None = None
) -> list[tuple[datetime, datetime]]:
    import pendulum
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.interval import CronDataIntervalTimetable

    timetable = CronDataIntervalTimetable(cron, zone)
    restriction = TimeRestriction(earliest=pendulum.instance(start), latest=None, catchup=True)
    last, found = None, []
    while len(found) < steps and not (stop and found and found[-1][1] > stop):
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=restriction
        )
        assert info is not None
        last = info.data_interval
        found.append((last.start, last.end))
    return found


def changes(zone: str, year: int) -> list[datetime]:
    """The moments of a year when a zone's clock changes, to the minute."""
    tz, found = ZoneInfo(zone), []
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        lower, upper = day, day + timedelta(days=1)
        if lower.astimezone(tz).utcoffset() != upper.astimezone(tz).utcoffset():
            while upper - lower > timedelta(minutes=1):
                middle = lower + (upper - lower) / 2
                same = middle.astimezone(tz).utcoffset() == lower.astimezone(tz).utcoffset()
                lower, upper = (middle, upper) if same else (lower, middle)
            found.append(upper.replace(second=0, microsecond=0))
        day += timedelta(days=1)
    return found


class TestTheFirstWindow:
    @pytest.mark.parametrize(
        ("cron", "begins"),
        [
            ("0 0 * * *", datetime(2026, 1, 1)),
            ("0 2 * * *", datetime(2025, 12, 31, 2)),
            ("30 6 * * 1", datetime(2025, 12, 29, 6, 30)),
        ],
    )
    def test_it_begins_at_the_last_moment_up_to_the_first_day(
        self, cron: str, begins: datetime
    ) -> None:
        assert window_start(cron, date(2026, 1, 1)) == begins


class TestRetries:
    def test_a_task_comes_again_when_the_server_said(self) -> None:
        from airflow.sdk.definitions.retry_policy import RetryAction

        from sinew.operators.retrying import WaitAsAsked, retriable

        later = datetime.now(UTC) + timedelta(minutes=10)
        for error, least, most in [
            (ThrottledError("later", later), 595, 600),
            (ServerBusyError("busy", 7.5), 7.5, 7.5),
            (ThrottledError("now", later - timedelta(hours=1)), 0, 0),
        ]:
            decision = WaitAsAsked().evaluate(retriable(error), 1, 3)
            assert decision.action is RetryAction.RETRY
            assert decision.retry_delay is not None
            assert least <= decision.retry_delay.total_seconds() <= most

    @pytest.mark.parametrize("error", [UnavailableError("down"), ServerBusyError("busy", None)])
    def test_without_a_word_of_the_server_the_tasks_own_delay_counts(self, error: Any) -> None:
        from airflow.sdk.definitions.retry_policy import RetryAction

        from sinew.operators.retrying import WaitAsAsked, retriable

        assert WaitAsAsked().evaluate(retriable(error), 1, 3).action is RetryAction.DEFAULT

    def test_every_task_of_a_sync_has_that_policy(self, dag: Any) -> None:
        assert all(type(task.retry_policy).__name__ == "WaitAsAsked" for task in dag.tasks)
        assert {task.retries for task in dag.tasks} == {2}
