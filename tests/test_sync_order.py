"""Readings that are loaded late: what was read later has the last word, whatever the order of loads."""

from __future__ import annotations

from datetime import datetime

import psycopg
import pytest

from demo.shop.api import ShopServer
from sinew.engine.planner import prepare
from sinew.engine.steps import STEPS, run_step
from sinew.engine.windows import EntityRows, complete_window, plan_window
from tests.fix_deliver import NOW, DeliverCase
from tests.fix_sync import SyncCase
from tests.test_sync_api import expected, loaded_orders
from tests.test_sync_database import DAY, MAPPING, SAME, WINDOW, case, change, source_rows

__all__ = ["case"]


def begin(case: SyncCase, lower: str | None, upper: str, run_id: str) -> int:
    """Plan a run, and bring its batch up to the gate."""
    context = case.context()
    prepare(context)
    from_ = datetime.fromisoformat(lower) if lower else None
    batch = plan_window(context, from_, datetime.fromisoformat(upper), run_id)["orders"]
    run_step(context, batch, "check")
    return batch


def end(case: SyncCase, batch: int, run_id: str) -> EntityRows:
    """Load it, validate it, and close the run."""
    for step in STEPS:
        run_step(case.context(), batch, step)
    return complete_window(case.context(), run_id)["orders"]


class TestFull:
    def test_a_run_that_is_taken_up_after_a_later_one_does_not_turn_the_target_back(
        self, case: SyncCase
    ) -> None:
        case.text = MAPPING.replace("WATERMARK", "vanished: delete")
        first = begin(case, None, "2026-02-01T00:00:00+01:00", "first")
        change(case, """UPDATE "ORD" SET "STATUS" = 'paid' WHERE "ID" = 50""")
        change(case, """DELETE FROM "ORD" WHERE "ID" = 51""")
        change(case, """INSERT INTO "ORD" VALUES (999, 'new', 5, NULL)""")
        case.run(None, "2026-02-02T00:00:00+01:00")
        done = end(case, first, "first")
        assert case.rows(SAME) == source_rows(case)
        assert (done.read, done.unchanged, done.deleted) == (240, 240, 0)

    def test_a_delivery_that_is_taken_up_after_a_later_one_sends_nothing_old(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        first = delivery.plan("first")
        delivery.step(first, "check")
        delivery.sql("UPDATE crm.customers SET full_name = 'New' WHERE id = 1")
        delivery.sql("DELETE FROM crm.customers WHERE id = 2")
        delivery.sql(
            "INSERT INTO crm.customers SELECT 9, 'nine@shop.example', 'Nine', 'DE', 1, true"
        )
        delivery.run(upper="2026-06-02T00:00:00+00:00")
        delivery.finish("first", first)
        assert delivery.same()

    def test_records_of_an_api_are_asked_for_again_once_for_all_entities(
        self, sync_case: SyncCase, changing_shop: ShopServer
    ) -> None:
        asked = "    incremental: {by: window, from_parameter: updated_from, to_parameter: updated_to}\n"
        assert asked in sync_case.text
        sync_case.text = sync_case.text.replace(asked, "")
        context = sync_case.context()
        prepare(context)
        first = plan_window(context, None, datetime.fromisoformat(NOW), "first")
        for batch in first.values():
            run_step(context, batch, "extract")
        changing_shop.store.change_order(9, "status", '"returned"')
        sync_case.run(None, "2026-12-02T00:00:00+00:00")
        before = changing_shop.control.counters.count("/orders")
        for batch in first.values():
            run_step(context, batch, "validate")
        assert complete_window(context, "first")["orders"].unchanged == 300
        assert loaded_orders(sync_case) == expected(changing_shop)
        assert changing_shop.control.counters.count("/orders") == before + 3


class TestWindows:
    def test_a_row_that_a_later_reading_has_seen_is_not_gone(self, case: SyncCase) -> None:
        overlapping = WINDOW.replace("}", ", overlap: 7200}")
        case.text = MAPPING.replace("WATERMARK", f"{overlapping}\n    vanished: delete")
        first = begin(case, *DAY, "first")
        change(case, """INSERT INTO "ORD" VALUES (999, 'late', 5, '2026-01-03 23:30')""")
        case.run("2026-01-04T00:00:00+01:00", "2026-01-05T00:00:00+01:00")
        assert end(case, first, "first").deleted == 0
        assert (999,) in case.rows("SELECT order_id FROM shop.orders")

    def test_nor_is_one_that_a_later_reading_has_sent(self, delivery: DeliverCase) -> None:
        delivery.say(
            "    key: [id]\n",
            "    key: [id]\n    watermark: {column: updated_at, overlap: 7200}\n",
        )
        delivery.fill(2)
        days = [f"2026-05-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
        context = delivery.context()
        prepare(context)
        first = plan_window(
            context, datetime.fromisoformat(days[0]), datetime.fromisoformat(days[1]), "first"
        )["contacts"]
        delivery.step(first, "check")
        delivery.sql(
            "INSERT INTO crm.customers SELECT 9, 'nine@shop.example', 'Nine', 'DE', 1, true, '2026-05-01 23:30Z'"
        )
        delivery.run(*days[1:])
        assert delivery.finish("first", first).deleted == 0
        assert delivery.same()


class TestGone:
    def test_rejects_that_never_came_are_not_told_as_gone(self, case: SyncCase) -> None:
        case.text = "max_rejects: 0.9\n" + MAPPING.replace("WATERMARK", "vanished: delete")
        change(case, """DELETE FROM "ORD" WHERE "ID" > 6""")
        change(case, """UPDATE "ORD" SET "STATUS" = NULL WHERE "ID" > 3""")
        assert case.run(None, "2026-02-01T00:00:00+01:00")["orders"].rejected == 3
        change(case, """DELETE FROM "ORD" WHERE "ID" > 3""")
        done = case.run(None, "2026-02-02T00:00:00+01:00")["orders"]
        assert (done.read, done.unchanged, done.deleted) == (3, 3, 0)
        states = case.rows("SELECT k1, state FROM sinew_rows.orders__orders ORDER BY 1")
        assert states == [(n, "live" if n <= 3 else "deleted") for n in range(1, 7)]


FAMILY_SOURCE = """
CREATE TABLE "HEAD" (id integer PRIMARY KEY, name text, changed timestamptz);
CREATE TABLE "LINE" (id integer PRIMARY KEY, head integer, changed timestamptz);
INSERT INTO "HEAD" VALUES (1, 'one', '2026-01-03 10:00Z'), (2, 'two', '2026-01-03 11:00Z');
INSERT INTO "LINE" VALUES (1, 1, '2026-01-03 10:00Z'), (2, 2, '2026-01-03 11:00Z'), (3, 2, '2026-01-04 11:00Z');
"""
FAMILY_TARGET = """
CREATE TABLE shop.heads (id integer PRIMARY KEY, name text);
CREATE TABLE shop.lines (id integer PRIMARY KEY, head integer NOT NULL REFERENCES shop.heads);
"""
FAMILY = """
sync: family
source: {conn: erp}
target: {conn: commerce, schema: shop}
max_rejects: 0.9
entities:
  heads:
    from: HEAD
    key: [id]
    watermark: {column: changed}
    vanished: delete
    columns: {id: {key: copy}, name: {from: name}}
  lines:
    from: LINE
    key: [id]
    watermark: {column: changed}
    vanished: delete
    columns: {id: {key: copy}, head: {ref: heads, by: head}}
"""
DAYS = [f"2026-01-0{day}T00:00:00+00:00" for day in (3, 4, 5)]


@pytest.fixture
def family(case: SyncCase, home: psycopg.Connection) -> SyncCase:
    """Heads and their lines, each with a moment of its own."""
    change(case, FAMILY_SOURCE)
    home.execute(FAMILY_TARGET)
    home.commit()
    case.text = FAMILY
    return case


class TestFamily:
    def test_a_window_does_not_fail_by_what_another_one_is_about_to_take_out(
        self, family: SyncCase
    ) -> None:
        family.run(*DAYS[:2])
        change(family, 'DELETE FROM "LINE" WHERE head = 1')
        change(family, 'DELETE FROM "HEAD" WHERE id = 1')
        context = family.context()
        bounds = [datetime.fromisoformat(day) for day in DAYS]
        batches = plan_window(context, *bounds[:2], "first")
        run_step(context, batches["heads"], "validate")
        family.run(*DAYS[1:])
        run_step(context, batches["lines"], "validate")
        done = complete_window(context, "first")
        assert (done["heads"].deleted, done["lines"].deleted) == (1, 1)
        assert family.rows("SELECT id FROM shop.heads") == [(2,)]

    def test_a_row_goes_once_the_rows_that_refer_to_it_are_gone(self, family: SyncCase) -> None:
        family.run(*DAYS[:2])
        family.run(*DAYS[1:])
        change(family, 'DELETE FROM "LINE"')
        change(family, 'DELETE FROM "HEAD"')
        # Line 3 belongs to the next window, and holds its head; the other one goes at once.
        family.run(*DAYS[:2])
        assert family.rows("SELECT id FROM shop.heads") == [(2,)]
        assert family.rows("SELECT id FROM shop.lines") == [(3,)]
        family.run(*DAYS[1:])
        assert family.rows("SELECT id FROM shop.heads UNION ALL SELECT id FROM shop.lines") == []

    def test_children_of_a_row_that_moved_on_stay(self, family: SyncCase) -> None:
        family.run(*DAYS[:2])
        change(
            family, """UPDATE "HEAD" SET name = 'uno', changed = '2026-01-04 12:00Z' WHERE id = 1"""
        )
        family.run(*DAYS[:2])
        family.run(*DAYS[1:])
        assert family.rows("SELECT * FROM shop.heads ORDER BY 1") == [(1, "uno"), (2, "two")]
        assert family.rows("SELECT * FROM shop.lines ORDER BY 1") == [(1, 1), (2, 2), (3, 2)]
