"""Database → database: by windows with an overlap, since the last run, or all of it."""

from __future__ import annotations

import psycopg
import pytest

from sinew.errors import ConstraintError, SinewError
from tests.fix_sync import SyncCase

SOURCE = """
CREATE TABLE "ORD" ("ID" bigint PRIMARY KEY, "STATUS" text, "CENTS" integer, "CHANGED" timestamp);
INSERT INTO "ORD" SELECT n, 'new', n * 10, timestamp '2026-01-01' + n * interval '1 hour'
    FROM generate_series(1, 240) AS n;
"""
TARGET = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id bigint PRIMARY KEY, status text NOT NULL, total numeric(10, 2) NOT NULL);
"""
MAPPING = """
sync: orders
source: {conn: erp}
target: {conn: commerce, schema: shop}
entities:
  orders:
    from: ORD
    key: [ID]
    WATERMARK
    columns:
      order_id: {key: copy}
      status: {from: STATUS}
      total: {from: CENTS, do: [{scale: {divide: 100}}]}
"""
WINDOW = 'watermark: {column: CHANGED, zone: "Europe/Berlin"}'
DAY = ("2026-01-03T00:00:00+01:00", "2026-01-04T00:00:00+01:00")
SAME = "SELECT order_id, status, (total * 100)::integer FROM shop.orders ORDER BY 1"


@pytest.fixture
def case(
    source: psycopg.Connection, home: psycopg.Connection, source_db: str, home_db: str
) -> SyncCase:
    """240 orders, one an hour from 2026-01-01 01:00 in Berlin on."""
    source.execute(SOURCE)
    source.commit()
    home.execute(TARGET)
    home.commit()
    return SyncCase("http://127.0.0.1:1", home_db, MAPPING.replace("WATERMARK", WINDOW), source_db)


def change(case: SyncCase, statement: str) -> None:
    assert case.source is not None
    with psycopg.connect(case.source) as conn:
        conn.execute(statement)


def source_rows(case: SyncCase) -> list[tuple[object, ...]]:
    assert case.source is not None
    with psycopg.connect(case.source) as conn:
        return conn.execute('SELECT "ID", "STATUS", "CENTS" FROM "ORD" ORDER BY 1').fetchall()


class TestWindows:
    def test_a_naive_moment_is_one_of_its_zone(self, case: SyncCase) -> None:
        done = case.run(*DAY)
        ids = [row[0] for row in case.rows(SAME)]
        assert ids == list(range(48, 72))
        assert done["orders"].read == 24

    def test_days_that_tile_the_time_bring_every_row_once(self, case: SyncCase) -> None:
        days = [f"2026-01-{day:02}T00:00:00+01:00" for day in range(1, 13)]
        read = sum(
            case.run(lower, upper)["orders"].read
            for lower, upper in zip(days, days[1:], strict=False)
        )
        assert read == 240
        assert case.rows(SAME) == source_rows(case)

    def test_the_overlap_brings_what_was_committed_late(self, case: SyncCase) -> None:
        overlapping = WINDOW.replace("}", ", overlap: 7200}")
        case.text = MAPPING.replace("WATERMARK", overlapping)
        case.run(*DAY)
        change(case, """INSERT INTO "ORD" VALUES (999, 'late', 5, '2026-01-03 23:30')""")
        case.run("2026-01-04T00:00:00+01:00", "2026-01-05T00:00:00+01:00")
        assert (999,) in case.rows("SELECT order_id FROM shop.orders")

    def test_a_row_that_moved_on_is_not_gone(self, case: SyncCase) -> None:
        case.text = MAPPING.replace("WATERMARK", f"{WINDOW}\n    vanished: delete")
        case.run(*DAY)
        change(
            case, """UPDATE "ORD" SET "STATUS" = 'paid', "CHANGED" = '2026-01-20' WHERE "ID" = 50"""
        )
        case.run("2026-01-19T00:00:00+01:00", "2026-01-21T00:00:00+01:00")
        case.run(*DAY)
        assert (50, "paid", 500) in case.rows(SAME)

    def test_a_row_that_is_gone_is_deleted_with_its_window(self, case: SyncCase) -> None:
        case.text = MAPPING.replace("WATERMARK", f"{WINDOW}\n    vanished: delete")
        case.run(*DAY)
        change(case, 'DELETE FROM "ORD" WHERE "ID" = 50')
        assert case.run(*DAY)["orders"].deleted == 1
        assert 50 not in [row[0] for row in case.rows(SAME)]

    def test_a_row_without_a_moment_is_in_no_window(self, case: SyncCase) -> None:
        change(case, """INSERT INTO "ORD" VALUES (999, 'odd', 5, NULL)""")
        assert (
            case.run("2025-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00")["orders"].read == 240
        )


class TestSince:
    SINCE = WINDOW.replace("}", ", by: since, overlap: 3600}")

    def test_each_run_reads_on_from_the_newest_row_with_the_overlap(self, case: SyncCase) -> None:
        case.text = MAPPING.replace("WATERMARK", self.SINCE)
        assert case.run(None, "2026-02-01T00:00:00+01:00")["orders"].read == 240
        change(case, """INSERT INTO "ORD" VALUES (999, 'new', 5, '2026-01-11 00:30')""")
        again = case.run(None, "2026-02-02T00:00:00+01:00")
        assert again["orders"].read == 3
        assert case.rows(SAME) == source_rows(case)


class TestFull:
    def test_all_of_it_comes_each_time_and_what_is_gone_goes(self, case: SyncCase) -> None:
        case.text = MAPPING.replace("WATERMARK", "vanished: delete")
        case.run(None, "2026-02-01T00:00:00+01:00")
        change(case, 'DELETE FROM "ORD" WHERE "ID" % 7 = 0')
        change(case, """UPDATE "ORD" SET "STATUS" = 'paid' WHERE "ID" = 50""")
        done = case.run(None, "2026-02-02T00:00:00+01:00")
        assert done["orders"].deleted == 34
        assert case.rows(SAME) == source_rows(case)

    def test_an_empty_source_does_not_empty_the_target(self, case: SyncCase) -> None:
        case.text = MAPPING.replace("WATERMARK", "vanished: delete")
        case.run(None, "2026-02-01T00:00:00+01:00")
        change(case, 'DELETE FROM "ORD"')
        with pytest.raises(ConstraintError, match="240 of 240 rows are gone"):
            case.run(None, "2026-02-02T00:00:00+01:00")
        assert len(case.rows(SAME)) == 240

    def test_rows_without_a_key_are_rejects(self, case: SyncCase) -> None:
        case.text = "max_rejects: 5\n" + MAPPING.replace("WATERMARK", "")
        change(
            case, 'ALTER TABLE "ORD" DROP CONSTRAINT "ORD_pkey", ALTER COLUMN "ID" DROP NOT NULL'
        )
        change(case, """INSERT INTO "ORD" VALUES (NULL, 'odd', 5, NULL)""")
        done = case.run(None, "2026-02-01T00:00:00+01:00")
        assert (done["orders"].loaded, done["orders"].rejected) == (240, 1)

    def test_a_key_that_is_not_unique_is_refused_before_a_row_moves(self, case: SyncCase) -> None:
        case.text = MAPPING.replace("WATERMARK", "")
        change(case, 'ALTER TABLE "ORD" DROP CONSTRAINT "ORD_pkey"')
        change(case, """INSERT INTO "ORD" VALUES (5, 'twin', 5, NULL)""")
        with pytest.raises(SinewError, match="is not unique"):
            case.run(None, "2026-02-01T00:00:00+01:00")
