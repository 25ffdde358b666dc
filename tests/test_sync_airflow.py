"""Syncs under a real Airflow: which window a run takes, what stops, and backfills by a real scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from demo.shop.api import ShopServer, Size, Store, fill
from demo.stack import StackError
from tests.fix_airflow import Airflow
from tests.fix_sync import MAPPING, TARGET

pytestmark = pytest.mark.slow

ORDERS = MAPPING.replace("conn: commerce", "conn: new_shop").split("  lines:\n")[0]
WHOLE = MAPPING.replace("conn: commerce", "conn: new_shop")
VANISHED = "    key: [id]\n    vanished: delete\n"
NIGHTLY = 'schedule: {{cron: "0 0 * * *", timezone: Europe/Berlin, start: 2026-03-27, max_active_runs: {runs}}}\n'
FOLLOWER = """\
sync: follower
source: {conn: new_shop, schema: shop}
target: {conn: new_shop, schema: copy}
schedule: {after: [nightly.orders]}
entities:
  orders:
    from: orders
    key: [order_id]
    vanished: delete
    columns:
      order_id: {key: copy}
      total: {from: total}
"""


FOUR_DAYS = Size(orders=160, start="2026-03-27", days=3)
MONTH = Size(orders=20_000, start="2026-03-08", days=30)


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[ShopServer]:
    """160 orders that last changed in the three days up to 30 March 2026, UTC; or as the test says."""
    with Store() as store:
        fill(store, getattr(request, "param", FOUR_DAYS))
        with ShopServer(store) as server:
            yield server


@pytest.fixture
def synced(airflow: Airflow, shop: ShopServer) -> Iterator[Airflow]:
    """An Airflow that knows the shop's API, and a database for its orders."""
    airflow.new(
        "DROP SCHEMA IF EXISTS shop, copy CASCADE;"
        + TARGET
        + "CREATE SCHEMA copy; CREATE TABLE copy.orders (order_id bigint PRIMARY KEY, total numeric(12, 2));"
    )
    airflow.connections["shop_api"] = shop.url
    yield airflow
    airflow.connections.clear()


def orders_of(shop: ShopServer) -> dict[int, tuple[Any, ...]]:
    """The shop's own orders: number, total, and when they changed."""
    bodies = [
        json.loads(row[0], parse_float=Decimal)
        for row in shop.store.rows("SELECT body FROM orders")
    ]
    return {
        body["id"]: (
            body["number"],
            Decimal(body["total"]),
            datetime.fromisoformat(body["updated_at"]),
        )
        for body in bodies
    }


def loaded(airflow: Airflow) -> dict[int, tuple[Any, ...]]:
    """The same as the database has them."""
    rows = airflow.new("SELECT order_id, number, total, updated_at FROM shop.orders")
    return {row[0]: row[1:] for row in rows}


def windows(airflow: Airflow) -> list[tuple[Any, ...]]:
    """All windows of the sync of orders: from, to, state."""
    return airflow.new(
        """SELECT lower, upper, state FROM sinew."window" WHERE mapping <> 'follower' ORDER BY id"""
    )


FROM, TO = "2026-03-27T00:00:00+00:00", "2026-03-30T00:00:00+00:00"


class TestARunThatAPersonStarts:
    def test_it_takes_the_window_of_the_form_and_the_next_goes_on_where_it_ended(
        self, synced: Airflow, shop: ShopServer
    ) -> None:
        dag_id = synced.sync("shop_orders", WHOLE)
        lost = synced.run(dag_id)
        assert lost.state == "failed"
        assert lost.tasks["plan"] == "failed"
        assert synced.new("SELECT to_regclass('sinew.batch')") == [(None,)]

        first = synced.run(dag_id, **{"from": FROM, "to": TO})
        assert set(first.tasks.values()) == {"success"}
        assert loaded(synced) == orders_of(shop)

        before = datetime.now(UTC)
        second = synced.run(dag_id)
        assert second.state == "success"
        (_, (lower, upper, state)) = windows(synced)
        assert (lower, state) == (datetime.fromisoformat(TO), "complete")
        assert before <= upper <= datetime.now(UTC)

    def test_a_failed_gate_stops_what_refers_to_it_but_not_its_neighbours(
        self, synced: Airflow, shop: ShopServer
    ) -> None:
        synced.new("CREATE TABLE shop.notes (order_id bigint PRIMARY KEY, city text)")
        contract = synced.include / "contracts" / "web" / "orders.yaml"
        contract.parent.mkdir(exist_ok=True)
        strict = (
            "dataset: home/new/shop/orders\ncolumns:\n  - name: status\n    checks:\n"
            "      - invalid: {valid_values: [nothing]}\n"
        )
        contract.write_text(strict)
        notes = (
            "  notes:\n    from: {resource: orders}\n    fields: {city: $.shipping_address.city}\n"
            "    key: [id]\n    columns:\n"
            "      order_id: {key: copy, do: [{cast: bigint}]}\n      city: {from: city}\n"
        )
        dag_id = synced.sync("shop_orders", f"{WHOLE}{notes}contracts: contracts/web\n")
        failed = synced.run(dag_id, **{"from": FROM, "to": TO})
        assert failed.state == "failed"
        assert failed.tasks["orders.check"] == "failed"
        assert set(failed.of("lines.").values()) == {"upstream_failed"}
        assert set(failed.of("notes.").values()) == {"success"}
        assert failed.tasks["complete"] == "upstream_failed"
        assert synced.new("SELECT count(*) FROM shop.orders") == [(0,)]
        assert synced.new("SELECT count(*) FROM shop.notes") == [(160,)]
        assert [row[2] for row in windows(synced)] == ["running"]

        # Mended and cleared, the same window is finished; the plan is not made again.
        contract.write_text(strict.replace("{valid_values: [nothing]}", "{valid_min_length: 1}"))
        mended = synced.clear(dag_id, failed, "orders.check", -1)
        assert set(mended.tasks.values()) == {"success"}
        assert loaded(synced) == orders_of(shop)
        assert [row[2] for row in windows(synced)] == ["complete"]

    def test_a_run_that_is_cleared_whole_reads_anew(
        self, synced: Airflow, shop: ShopServer
    ) -> None:
        text = ORDERS.replace("    key: [id]\n", VANISHED)
        dag_id = synced.sync("shop_orders", text)
        first = synced.run(dag_id, **{"from": FROM, "to": TO})
        assert first.state == "success"
        shop.store.delete_orders([sorted(orders_of(shop))[3]])
        again = synced.clear(dag_id, first, "plan", -1)
        assert again.run_id == first.run_id
        assert loaded(synced) == orders_of(shop)
        assert len(orders_of(shop)) == 159
        assert [row[2] for row in windows(synced)] == ["complete", "complete"]


# --- a real scheduler


@pytest.fixture
def scheduled(synced: Airflow, _served: None) -> Iterator[Airflow]:
    """The same with scheduler and dag processor running."""
    processes = [_component(synced, name) for name in ("scheduler", "dag-processor")]
    yield synced
    for process in processes:
        os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        # Its tasks are processes of their own, which must not work on under the next test.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _component(airflow: Airflow, name: str) -> subprocess.Popen[bytes]:
    with open(airflow.service.home / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            airflow.service.command(name),
            env=airflow.env(),
            cwd=airflow.service.home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def until(what: Callable[[], Any], seconds: float, told: str) -> Any:
    """Ask until something is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"waited {seconds} s: {told}"
        time.sleep(0.5)
    return found


def runs(airflow: Airflow, dag_id: str) -> list[dict[str, Any]]:
    """A DAG's runs, as the API server tells them."""
    found = airflow.service.api("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=100")
    return list(found["dag_runs"])


def known(airflow: Airflow, dag_id: str) -> None:
    """Wait until the dag processor has read a mapping; no other test's may have had the same name."""

    def there() -> bool:
        found = airflow.service.api("GET", "/api/v2/dags?limit=100")["dags"]
        return dag_id in [dag["dag_id"] for dag in found if not dag["is_stale"]]

    until(there, 120, f"{dag_id} is not there")


def backfill(airflow: Airflow, dag_id: str, first: str, last: str, behavior: str) -> None:
    """`airflow backfill create`, as a person types it."""
    done = subprocess.run(
        airflow.service.command(
            *("backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", last),
            *("--reprocess-behavior", behavior, "--max-active-runs", "2"),
        ),
        env=airflow.env(),
        cwd=airflow.service.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ended(airflow, dag_id)


def again(airflow: Airflow, dag_id: str, day: str) -> None:
    """The same for one day that was done before, by the API: starting the command costs seconds."""
    airflow.service.api("POST", "/api/v2/backfills", _asked(dag_id, day))
    ended(airflow, dag_id)


def _asked(dag_id: str, day: str) -> dict[str, Any]:
    return {"dag_id": dag_id, "from_date": day, "to_date": day, "reprocess_behavior": "completed"}


def ended(airflow: Airflow, dag_id: str, seconds: float = 3000) -> None:
    """Wait until a DAG's backfills have ended; all their runs went well."""

    def done() -> bool:
        found = airflow.service.api("GET", f"/api/v2/backfills?dag_id={quote(dag_id)}")
        return all(each["completed_at"] for each in found["backfills"])

    until(done, seconds, f"a backfill of {dag_id} has not ended")
    # At midnight in Berlin the schedule makes a run of its own.
    made = [run for run in runs(airflow, dag_id) if run["run_type"] == "backfill"]
    states = {run["dag_run_id"]: run["state"] for run in made}
    assert set(states.values()) == {"success"}, states


class TestABackfill:
    @pytest.mark.timeout(900)
    @pytest.mark.campaign
    def test_four_days_one_of_them_three_times_equal_one_full_load(
        self, scheduled: Airflow, shop: ShopServer
    ) -> None:
        text = ORDERS.replace("    key: [id]\n", VANISHED)
        head, rest = text.split("resources:\n")
        head = head.replace("sync: shop_orders", "sync: nightly")
        dag_id = scheduled.sync("nightly", f"{head}{NIGHTLY.format(runs=1)}resources:\n{rest}")
        refused = scheduled.sync("since", since(text))
        known(scheduled, dag_id)

        # The clocks change on the third day, which has 23 hours.
        day = "2026-03-{}T00:00:00+0{}:00".format
        backfill(scheduled, dag_id, day(27, 1), day(30, 2), "none")
        assert loaded(scheduled) == orders_of(shop)
        assert tiles(scheduled) == [24, 24, 23, 24]

        follower = scheduled.sync("follower", FOLLOWER)
        for _ in range(2):
            gone = of_the_day(shop, "2026-03-28")[0]
            shop.store.delete_orders([gone])
            assert gone in loaded(scheduled)
            again(scheduled, dag_id, day(28, 1))
            assert loaded(scheduled) == orders_of(shop)
            known(scheduled, follower)
        assert len(orders_of(shop)) == 158
        assert tiles(scheduled) == [24, 24, 23, 24]
        assert same_as_a_full_load(scheduled, shop)
        self.tells_of_its_rows(scheduled, dag_id)
        self.is_followed(scheduled, follower)
        self.refuses(scheduled, refused, day(28, 1))

    @staticmethod
    def refuses(airflow: Airflow, dag_id: str, day: str) -> None:
        """A sync that reads since its last run takes no backfill."""
        with pytest.raises(StackError, match="does not allow backfill runs"):
            airflow.service.api("POST", "/api/v2/backfills", _asked(dag_id, day))
        assert not [run for run in runs(airflow, dag_id) if run["run_type"] == "backfill"]

    @staticmethod
    def tells_of_its_rows(airflow: Airflow, dag_id: str) -> None:
        """The asset's events say how many, and of which time."""
        path = f"/api/v2/assets/events?source_dag_id={dag_id}&limit=50&order_by=-timestamp"
        events = airflow.service.api("GET", path)["asset_events"]
        assert {event["uri"] for event in events} == {"sinew://nightly/orders"}
        told = [e["extra"] for e in events if e["extra"]["from"] == "2026-03-27T23:00:00+00:00"]
        assert [extra["deleted"] for extra in told] == [1, 1, 0]
        assert {extra["to"] for extra in told} == {"2026-03-28T23:00:00+00:00"}

    @staticmethod
    def is_followed(airflow: Airflow, follower: str) -> None:
        """Another sync runs when this one's rows are there, without a clock."""

        def followed() -> bool:
            copied = airflow.new("SELECT order_id, total FROM copy.orders ORDER BY 1")
            return copied == airflow.new("SELECT order_id, total FROM shop.orders ORDER BY 1")

        until(followed, 180, "the follower has not run")
        assert {run["run_type"] for run in runs(airflow, follower)} == {"asset_triggered"}

    @pytest.mark.campaign
    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("shop", [MONTH], indirect=True)
    def test_a_month_of_nightly_windows_one_of_them_three_times(
        self, scheduled: Airflow, shop: ShopServer
    ) -> None:
        head, rest = WHOLE.split("resources:\n")
        head = head.replace("sync: shop_orders", "sync: month")
        dag_id = scheduled.sync("month", f"{head}{NIGHTLY.format(runs=2)}resources:\n{rest}")
        known(scheduled, dag_id)
        began = time.monotonic()
        first, last = "2026-03-08T00:00:00+01:00", "2026-04-07T00:00:00+02:00"
        backfill(scheduled, dag_id, first, last, "none")
        took = time.monotonic() - began
        for _ in range(2):
            again(scheduled, dag_id, "2026-03-29T00:00:00+01:00")
        assert loaded(scheduled) == orders_of(shop)
        assert sorted(set(tiles(scheduled))) == [23, 24]
        assert len(tiles(scheduled)) == 31
        assert same_as_a_full_load(scheduled, shop)
        print(f"31 windows of {len(orders_of(shop))} orders in {took:.0f} s; one run three times")


def since(text: str) -> str:
    """The same sync, reading what is new since its last run."""
    text = text.replace("    vanished: delete\n", "").replace("sync: shop_orders", "sync: since")
    text = text.replace("target: {conn: new_shop, schema: shop}", "target: {conn: new_shop, schema: shop}\n"
                        'schedule: {cron: "0 0 1 1 *", start: 2026-03-27}')  # fmt: skip
    return text.replace(
        "{by: window, from_parameter: updated_from, to_parameter: updated_to}",
        "{by: since, parameter: updated_since}",
    )


def of_the_day(shop: ShopServer, day: str) -> list[int]:
    """Orders that last changed on a day in Berlin."""
    lower = datetime.fromisoformat(f"{day}T00:00:00+01:00")
    upper = lower + timedelta(days=1)
    return [id_ for id_, (_, _, at) in orders_of(shop).items() if lower <= at < upper]


def tiles(airflow: Airflow) -> list[float]:
    """Hours of the windows that are complete, each counted once; they follow one another without gap or overlap."""
    found = sorted(
        {(lower, upper) for lower, upper, state in windows(airflow) if state == "complete"}
    )
    found = [each for each in found if each[0] < datetime(2026, 5, 1, tzinfo=UTC)]
    assert all(before[1] == after[0] for before, after in zip(found, found[1:], strict=False))
    return [(upper - lower).total_seconds() / 3600 for lower, upper in found]


def same_as_a_full_load(airflow: Airflow, shop: ShopServer) -> bool:
    """Whether one window over all the time brings the same rows into an empty database."""
    from tests.fix_sync import SyncCase

    airflow.new("DROP DATABASE IF EXISTS whole_shop")
    airflow.new("CREATE DATABASE whole_shop")
    whole = airflow.dsn("whole_shop")
    with psycopg.connect(whole) as conn:
        conn.execute(TARGET)
    case = SyncCase(shop.url, whole)
    case.run("2026-01-01T00:00:00+00:00", "2026-07-01T00:00:00+00:00")
    queries = ("SELECT * FROM shop.orders ORDER BY 1", "SELECT * FROM shop.lines ORDER BY 1, 2")
    lines = [] if airflow.new("SELECT 1 FROM shop.lines LIMIT 1") == [] else [queries[1]]
    return all(case.rows(query) == airflow.new(query) for query in [queries[0], *lines])
