"""API → database: records come as they are, once, and a window that is run again converges."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from demo.shop.api import ShopServer
from sinew.errors import (
    ConfigurationError,
    ConstraintError,
    GateFailedError,
    RetriableError,
    SinewError,
)
from tests.fix_sync import MAPPING, SyncCase

ALL = ("2025-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00")
DAY = ("2026-01-05T00:00:00+00:00", "2026-01-06T00:00:00+00:00")


def shop_orders(shop: ShopServer) -> dict[int, dict[str, Any]]:
    """The shop's own orders, numbers unharmed."""
    rows = shop.store.rows("SELECT id, body FROM orders")
    return {row[0]: json.loads(row[1], parse_float=Decimal) for row in rows}


def loaded_orders(case: SyncCase) -> dict[int, tuple[Any, ...]]:
    rows = case.rows("SELECT order_id, number, status, total, fiscal_id, city FROM shop.orders")
    return {row[0]: row[1:] for row in rows}


def as_loaded(order: dict[str, Any]) -> tuple[Any, ...]:
    address = order.get("shipping_address") or {}
    fiscal = order.get("fiscal_id")
    return order["number"], order["status"], Decimal(order["total"]), fiscal, address.get("city")


def expected(shop: ShopServer) -> dict[int, tuple[Any, ...]]:
    return {id_: as_loaded(order) for id_, order in shop_orders(shop).items()}


def requests_for_orders(shop: ShopServer) -> int:
    return shop.control.counters.count("/orders")


class TestAWindow:
    def test_every_record_and_every_nested_record_arrives_unharmed(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        done = sync_case.run(*ALL)
        assert loaded_orders(sync_case) == expected(changing_shop)
        lines = sync_case.rows("SELECT order_id, line_no, sku, amount FROM shop.lines")
        assert sorted(lines) == sorted(
            (id_, line["number"], line["sku"], Decimal(line["amount"]))
            for id_, order in shop_orders(changing_shop).items()
            for line in order["lines"]
        )
        assert done["orders"].read == done["orders"].loaded == 300

    def test_nested_records_cost_no_request_of_their_own(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL)
        assert requests_for_orders(changing_shop) == 3

    def test_it_holds_what_changed_in_it_and_nothing_else(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*DAY)
        wanted = {
            row[0]
            for row in changing_shop.store.rows(
                "SELECT id FROM orders WHERE updated_at >= '2026-01-05' AND updated_at < '2026-01-06'"
            )
        }
        assert wanted
        assert loaded_orders(sync_case).keys() == wanted

    def test_windows_side_by_side_hold_every_record_once(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        edges = ["2025-01-01", "2026-01-10", "2026-01-20", "2027-01-01"]
        moments = [f"{edge}T00:00:00+00:00" for edge in edges]
        read = sum(
            sync_case.run(lower, upper)["orders"].read
            for lower, upper in zip(moments, moments[1:], strict=False)
        )
        assert read == 300
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_run_again_it_changes_nothing(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL)
        before = loaded_orders(sync_case), sync_case.rows("SELECT * FROM shop.lines")
        sync_case.run(*ALL)
        after = loaded_orders(sync_case), sync_case.rows("SELECT * FROM shop.lines")
        assert before[0] == after[0]
        assert sorted(before[1]) == sorted(after[1])

    def test_run_again_it_brings_what_changed_meanwhile(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL)
        changing_shop.store.change_order(7, "status", '"returned"')
        changing_shop.store.change_order(8, "total", '"1.10"')
        sync_case.run(*ALL)
        assert loaded_orders(sync_case) == expected(changing_shop)
        assert loaded_orders(sync_case)[7][1] == "returned"

    def test_an_older_window_does_not_overwrite_a_newer_version(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        # A reading of January that is still under way when February's is loaded.
        sync_case.run(*ALL)
        context = sync_case.context()
        from datetime import datetime

        from sinew.engine.steps import STEPS, run_step
        from sinew.engine.windows import plan_window

        early = plan_window(context, *map(datetime.fromisoformat, ALL), "slow")["orders"]
        for step in STEPS[:3]:
            run_step(context, early, step)
        changing_shop.store.change_order(7, "status", '"returned"', "2026-12-01T00:00:00.000000Z")
        sync_case.run("2026-11-30T00:00:00+00:00", "2026-12-02T00:00:00+00:00")
        for step in STEPS[3:]:
            run_step(context, early, step)
        assert loaded_orders(sync_case) == expected(changing_shop)
        (newer,) = sync_case.rows("SELECT newer_rows FROM sinew.batch WHERE id = %s", early)
        assert newer == (1,)

    def test_a_run_that_is_taken_up_does_only_what_is_missing(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL, "one")
        asked = requests_for_orders(changing_shop)
        sync_case.run(*ALL, "one")
        assert requests_for_orders(changing_shop) == asked

    def test_records_are_transformed_again_without_asking(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL)
        asked = requests_for_orders(changing_shop)
        sync_case.text = MAPPING.replace(
            "status: {from: status}", "status: {from: status, do: [upper]}"
        )
        sync_case.run(*ALL, ask=False)
        assert requests_for_orders(changing_shop) == asked
        assert all(row[1].isupper() for row in loaded_orders(sync_case).values())


class TestVanished:
    def test_what_is_gone_stays_unless_the_mapping_says_otherwise(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL)
        changing_shop.store.delete_orders([3, 4])
        sync_case.run(*ALL)
        assert {3, 4} <= loaded_orders(sync_case).keys()

    def test_it_is_deleted_with_its_children(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        watermark = "watermark: {column: updated_at}"
        sync_case.text = MAPPING.replace(watermark, f"{watermark}\n    vanished: delete")
        sync_case.run(*ALL)
        changing_shop.store.delete_orders([3, 4])
        done = sync_case.run(*ALL)
        assert done["orders"].deleted == 2
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_only_those_of_the_window_are_looked_for(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        watermark = "watermark: {column: updated_at}"
        sync_case.text = MAPPING.replace(watermark, f"{watermark}\n    vanished: delete")
        sync_case.run(*ALL)
        sync_case.run(*DAY)
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_it_is_marked_and_unmarked_when_it_is_back(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        watermark = "watermark: {column: updated_at}"
        marking = f"{watermark}\n    vanished: {{mark: deleted_at}}"
        sync_case.text = MAPPING.replace(watermark, marking)
        sync_case.run(*ALL)
        (gone,) = changing_shop.store.rows("SELECT * FROM orders WHERE id = 3")
        changing_shop.store.delete_orders([3])
        sync_case.run(*ALL)
        marked = "SELECT order_id FROM shop.orders WHERE deleted_at IS NOT NULL"
        assert sync_case.rows(marked) == [(3,)]
        changing_shop.store.insert("orders", [gone])
        sync_case.run(*ALL)
        assert sync_case.rows(marked) == []

    def test_more_than_the_mapping_allows_stops_the_load(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        watermark = "watermark: {column: updated_at}"
        limited = f"{watermark}\n    vanished: delete\n    max_vanished: 5"
        sync_case.text = MAPPING.replace(watermark, limited)
        sync_case.run(*ALL)
        changing_shop.store.delete_orders(range(1, 20))
        with pytest.raises(ConstraintError, match="19 of 300 rows are gone .* at most 5"):
            sync_case.run(*ALL)
        assert len(loaded_orders(sync_case)) == 300


class TestRecordsThatDoNotFit:
    def test_they_are_rejects_with_their_reason(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = "max_rejects: 10\n" + MAPPING
        changing_shop.store.change_order(5, "total", '"a lot"')
        changing_shop.store.change_order(6, "fiscal_id", "12345678901234567890")
        changing_shop.store.change_order(7, "note", '"zero\\u0000byte"')
        sync_case.run(*ALL)
        rejects = sync_case.rows(
            "SELECT source_key ->> 'id', column_name, rule FROM sinew.reject WHERE entity = 'orders' ORDER BY 1"
        )
        assert [(row[0], row[1]) for row in rejects] == [
            ("5", "total"),
            ("6", "fiscal_id"),
            ("7", "*"),
        ]
        assert rejects[2][2] == "unreadable"
        assert len(loaded_orders(sync_case)) == 297

    def test_children_of_a_reject_are_rejects_too(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = "max_rejects: 10\n" + MAPPING
        changing_shop.store.change_order(5, "total", '"a lot"')
        sync_case.run(*ALL)
        rules = sync_case.rows("SELECT DISTINCT rule FROM sinew.reject WHERE entity = 'lines'")
        assert rules == [("parent_rejected",)]

    def test_too_many_fail_the_gate_and_nothing_is_loaded(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        changing_shop.store.change_order(5, "total", '"a lot"')
        with pytest.raises(GateFailedError, match="max_rejects"):
            sync_case.run(*ALL, "one")
        assert loaded_orders(sync_case) == {}
        changing_shop.store.change_order(5, "total", '"1.00"')
        sync_case.run(*ALL, "one")
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_a_moment_that_cannot_be_read_is_a_reject(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = "max_rejects: 0.9\n" + MAPPING.replace(
            "watermark: {column: updated_at}", "watermark: {column: number}"
        )
        with pytest.raises(SinewError):
            sync_case.run(*ALL)
        assert sync_case.rows("SELECT DISTINCT rule FROM sinew.reject") == [("watermark",)]


class TestTrouble:
    def test_a_reading_that_is_cut_off_goes_on_where_it_was(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = MAPPING.replace("size: 100", "size: 20").replace(
            "    incremental:", "    retry: {attempts: 1}\n    incremental:"
        )
        changing_shop.control.fail_next("unavailable", 1, path="/orders", skip=9)
        with pytest.raises(RetriableError):
            sync_case.run(*ALL, "one")
        assert requests_for_orders(changing_shop) == 10
        sync_case.run(*ALL, "one")
        assert requests_for_orders(changing_shop) == 16
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_records_that_are_lost_are_asked_for_again(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        changing_shop.store.change_order(5, "total", '"a lot"')
        with pytest.raises(GateFailedError):
            sync_case.run(*ALL, "one")
        (fetch,) = sync_case.rows("SELECT id FROM sinew.fetch")
        import psycopg

        with psycopg.connect(sync_case.home) as conn:
            conn.execute(f"DELETE FROM sinew_stage.raw_{fetch[0]}")
        changing_shop.store.change_order(5, "total", '"1.00"')
        sync_case.run(*ALL, "one")
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_a_window_without_a_beginning_is_refused(self, sync_case: SyncCase) -> None:
        with pytest.raises(ConfigurationError, match="orders, lines .* is read by windows"):
            sync_case.run(None, ALL[1])

    def test_a_window_that_ends_before_it_begins_is_refused(self, sync_case: SyncCase) -> None:
        with pytest.raises(ConfigurationError, match="holds no time"):
            sync_case.run(ALL[1], ALL[0])


class TestDependentResources:
    LINES = MAPPING.replace(
        "entities:\n",
        """  lines:
    path: /orders/{order_id}/lines
    records: $.data[*]
    each: {of: orders, take: {order_id: $.id}}
entities:
""",
    ).replace(
        'from: {resource: orders, records: "$.lines[*]", parent: {order_id: $.id, changed: $.updated_at}}\n'
        "    key: [order_id, number]\n    target_key: [order_id, line_no]\n    watermark: {column: changed}",
        "from: {resource: lines}\n    key: [order_id, number]\n    target_key: [order_id, line_no]",
    )

    def test_each_record_of_the_parent_is_asked_for_its_own(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = self.LINES
        assert "watermark: {column: changed}" not in sync_case.text
        sync_case.run(*DAY)
        orders = loaded_orders(sync_case).keys()
        assert changing_shop.control.counters.count("/orders/{id}/lines") == len(orders)
        lines = sync_case.rows("SELECT order_id, line_no, amount FROM shop.lines")
        assert sorted(lines) == sorted(
            (id_, line["number"], Decimal(line["amount"]))
            for id_, order in shop_orders(changing_shop).items()
            if id_ in orders
            for line in order["lines"]
        )


class TestSince:
    SINCE = MAPPING.replace(
        "incremental: {by: window, from_parameter: updated_from, to_parameter: updated_to}",
        "incremental: {by: since, parameter: updated_since}",
    )

    def test_the_first_run_reads_all_and_the_next_what_is_new(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = self.SINCE
        assert sync_case.run(None, "2026-12-01T00:00:00+00:00")["orders"].read == 300
        changing_shop.store.change_order(9, "status", '"returned"', "2026-11-02T00:00:00.000000Z")
        again = sync_case.run(None, "2026-12-02T00:00:00+00:00")
        # Those that are as new as the newest of the first run lie on the bound.
        (newest,) = changing_shop.store.rows(
            "SELECT count(*) FROM orders GROUP BY updated_at HAVING id <> 9 ORDER BY updated_at DESC LIMIT 1"
        )
        assert again["orders"].read == 1 + newest[0]
        assert loaded_orders(sync_case) == expected(changing_shop)

    def test_a_run_that_failed_does_not_move_the_position(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = self.SINCE
        sync_case.run(None, "2026-12-01T00:00:00+00:00")
        changing_shop.store.change_order(9, "total", '"a lot"', "2026-11-02T00:00:00.000000Z")
        with pytest.raises(GateFailedError):
            sync_case.run(None, "2026-12-02T00:00:00+00:00")
        changing_shop.store.change_order(9, "total", '"2.00"', "2026-11-02T00:00:00.000000Z")
        sync_case.run(None, "2026-12-03T00:00:00+00:00")
        assert loaded_orders(sync_case) == expected(changing_shop)

    def position(self, sync_case: SyncCase) -> datetime | None:
        ((moment,),) = sync_case.rows("SELECT moment FROM sinew.position WHERE name = 'orders'")
        assert moment is None or isinstance(moment, datetime)
        return moment

    def test_records_that_are_asked_for_by_another_do_not_move_the_position(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = TestDependentResources.LINES.replace(
            "incremental: {by: window, from_parameter: updated_from, to_parameter: updated_to}",
            "incremental: {by: since, parameter: updated_since}",
        )
        sync_case.run(None, "2026-12-01T00:00:00+00:00")
        newest = max(order["updated_at"] for order in shop_orders(changing_shop).values())
        assert self.position(sync_case) == datetime.fromisoformat(newest)

    def test_nor_do_elements_that_have_moments_of_their_own(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.text = self.SINCE.replace("changed: $.updated_at", "changed: $.created_at")
        march = "2026-03-01T00:00:00.000000Z"
        for id_ in (1, 2):
            changing_shop.store.change_order(
                id_, "created_at", '"2030-01-01T00:00:00.000000Z"', march
            )
        sync_case.run(None, "2026-12-01T00:00:00+00:00")
        changing_shop.store.change_order(9, "status", '"returned"', "2026-11-02T00:00:00.000000Z")
        sync_case.run(None, "2026-12-02T00:00:00+00:00")
        assert loaded_orders(sync_case) == expected(changing_shop)


class TestUnchanged:
    def test_a_row_that_is_as_it_was_is_not_written_again(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        sync_case.run(*ALL)
        written = sync_case.rows("SELECT order_id, xmin::text FROM shop.orders ORDER BY 1")
        changing_shop.store.change_order(7, "status", '"returned"')
        done = sync_case.run(*ALL)["orders"]
        assert (done.loaded, done.unchanged) == (1, 299)
        after = sync_case.rows("SELECT order_id, xmin::text FROM shop.orders ORDER BY 1")
        assert [a[0] for a, b in zip(written, after, strict=True) if a != b] == [7]

    def test_a_row_that_somebody_changed_in_the_target_is_written_again(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        import psycopg

        sync_case.run(*ALL)
        with psycopg.connect(sync_case.home) as conn:
            conn.execute("UPDATE shop.orders SET status = 'rogue' WHERE order_id = 5")
            conn.execute("DELETE FROM shop.lines WHERE order_id = 6")
        sync_case.run(*ALL)
        assert loaded_orders(sync_case) == expected(changing_shop)
        assert sync_case.rows("SELECT count(*) > 0 FROM shop.lines WHERE order_id = 6") == [(True,)]
