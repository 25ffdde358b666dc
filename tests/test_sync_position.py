"""How far a sync has read: what changes while it reads, how moments are written, readings taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import psycopg
import pytest

from sinew.api.windows import incremental_params
from sinew.engine.window_choice import chosen_window
from sinew.errors import ApiRefusedError, RetriableError
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_sync import SyncCase
from tests.kit_api import Asked, Reply, serving

MAPPING = """
sync: items
source: {api: shop_api}
target: {conn: commerce, schema: shop}
resources:
  items:
    path: /items
    records: $.data[*]
    key: [$.id]
    retry: {attempts: 1}
    pagination: {style: offset, size: 3, size_parameter: limit}
    incremental: {by: since, parameter: since}
entities:
  items:
    from: {resource: items}
    key: [id]
    watermark: {column: changed}
    columns:
      id: {key: copy, do: [{cast: bigint}]}
      name: {from: name}
      changed: {from: changed, do: [{cast: timestamptz}]}
"""
FULL = MAPPING.replace("    incremental: {by: since, parameter: since}\n", "")
UNMARKED = MAPPING.replace("    watermark: {column: changed}\n", "")
TARGET = "CREATE SCHEMA shop; CREATE TABLE shop.items (id bigint PRIMARY KEY, name text, changed timestamptz)"


@dataclass
class Items:
    """An API over a list in the order of its ids, with a clock; ``before`` is called ahead of each answer."""

    kept: dict[int, dict[str, Any]]
    clock: timedelta = timedelta(0)
    before: Callable[[int], None] = lambda count: None
    asked: list[dict[str, str]] = field(default_factory=list)
    broken: bool = False

    def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked.query)
        self.before(len(self.asked))
        if self.broken:
            return Reply({}, status=500)
        since = asked.query.get("since", "")
        listed = [self.kept[id_] for id_ in sorted(self.kept) if self.kept[id_]["changed"] >= since]
        first = int(asked.query["offset"])
        date = format_datetime(datetime.now(UTC) + self.clock, usegmt=True)
        page = listed[first : first + int(asked.query["limit"])]
        return Reply({"data": page}, headers={"Date": date})

    def write(self, id_: int, name: str, changed: datetime | None = None) -> None:
        """Write an item, now unless it is said when."""
        moment = (changed or datetime.now(UTC) + self.clock).isoformat(timespec="microseconds")
        moment = moment.replace("+00:00", "Z")
        self.kept[id_] = {"id": id_, "name": name, "changed": moment}


@pytest.fixture
def items() -> Items:
    found = Items({})
    for id_ in range(1, 13):
        found.write(id_, "old", datetime(2026, 1, id_, 12, 0, 0, 250_000, UTC))
    return found


@contextmanager
def reading(items: Items, home_db: str, text: str = MAPPING) -> Iterator[SyncCase]:
    with psycopg.connect(home_db) as conn:
        conn.execute(TARGET)
    with serving(items) as (server, _):
        yield SyncCase(server.url, home_db, text)


def loaded(case: SyncCase) -> dict[int, str]:
    return dict(case.rows("SELECT id, name FROM shop.items"))


def now() -> str:
    return datetime.now(UTC).isoformat()


class TestAChangeWhileItReads:
    @pytest.mark.parametrize("minutes", [0, -10, 10])
    @pytest.mark.parametrize("text", [MAPPING, UNMARKED], ids=["watermark", "none"])
    def test_is_read_by_the_next_run(
        self, minutes: int, text: str, items: Items, home: psycopg.Connection, home_db: str
    ) -> None:
        items.clock = timedelta(minutes=minutes)

        def write(count: int) -> None:
            if count == 3:  # the page that holds item 1 has been read, that of item 12 has not
                items.write(1, "new")
                items.write(12, "new")

        items.before = write
        with reading(items, home_db, text) as case:
            case.run(None, now())
            assert loaded(case)[1] == "old"
            case.run(None, now())
            assert loaded(case) == {id_: row["name"] for id_, row in items.kept.items()}

    def test_is_not_hidden_by_a_moment_that_is_still_to_come(
        self, items: Items, home: psycopg.Connection, home_db: str
    ) -> None:
        items.write(5, "from the future", datetime.now(UTC) + timedelta(days=9000))
        with reading(items, home_db) as case:
            case.run(None, now())
            items.write(2, "new")
            case.run(None, now())
            assert loaded(case)[2] == "new"


class TestAMomentThatIsFiner:
    @pytest.mark.parametrize(
        "said", ["precision: seconds", "format: epoch_seconds", "format: date"]
    )
    def test_than_the_parameter_can_say_is_asked_for_from_before_it(
        self, said: str, items: Items, home: psycopg.Connection, home_db: str
    ) -> None:
        text = MAPPING.replace("parameter: since}", f"parameter: since, {said}}}")
        with reading(items, home_db, text) as case:
            case.run(None, now())
            first = len(items.asked)
            case.run(None, now())
        moment = datetime(2026, 1, 12, 12, tzinfo=UTC)
        wanted = {
            "precision: seconds": "2026-01-12T12:00:00Z",
            "format: epoch_seconds": str(int(moment.timestamp())),
            "format: date": "2026-01-12",
        }[said]
        assert items.asked[first]["since"] == wanted


class TestAReadingTakenUp:
    def test_after_the_collection_changed_begins_anew(
        self, items: Items, home: psycopg.Connection, home_db: str
    ) -> None:
        def fail(count: int) -> None:
            items.broken = count == 3

        items.before = fail
        upper = now()
        with reading(items, home_db, FULL) as case:
            with pytest.raises(RetriableError):
                case.run(None, upper, "one")
            del items.kept[2]
            case.run(None, upper, "one")
            assert loaded(case).keys() == items.kept.keys()


class TestAWindowUpToNow:
    @pytest.mark.parametrize(
        "said", ["precision: seconds", "format: date", "format: '%Y-%m-%d %H:%M'"]
    )
    def test_ends_at_the_latest_moment_that_the_api_can_be_told(self, said: str) -> None:
        window = f"{{by: window, from_parameter: f, to_parameter: t, {said}}}"
        text = MAPPING.replace("{by: since, parameter: since}", window)
        sync, lower = parse_mapping(text, kind=Sync), datetime(2026, 1, 1, tzinfo=UTC)
        _, end = chosen_window(sync, lower, None, lambda: None)
        assert datetime.now(UTC) - timedelta(days=1) < end < datetime.now(UTC)
        asked = incremental_params(
            sync.resources["items"].incremental, {"window_from": lower, "window_to": end}
        )
        assert [name for name, _ in asked] == ["f", "t"]


class TestABookmark:
    TEXT = UNMARKED.replace(
        "{by: since, parameter: since}", "{by: bookmark, parameter: token, at: $.token}"
    ).replace(
        "pagination: {style: offset, size: 3, size_parameter: limit}", "pagination: {style: none}"
    )

    @pytest.mark.parametrize("status", [400, 410])
    def test_that_the_api_has_forgotten_is_given_up_and_all_is_read(
        self, status: int, home: psycopg.Connection, home_db: str
    ) -> None:
        kept = {1: "old"}

        def answer(asked: Asked) -> Reply:
            if "token" in asked.query:
                return Reply({"error": "EXPIRED"}, status)
            data = [{"id": id_, "name": name, "changed": None} for id_, name in kept.items()]
            return Reply({"data": data, "token": f"t{len(kept)}"})

        with psycopg.connect(home_db) as conn:
            conn.execute(TARGET)
        with serving(answer) as (server, _):
            case = SyncCase(server.url, home_db, self.TEXT)
            case.run(None, now())
            kept |= {1: "new", 2: "new"}
            case.run(None, now())
        assert loaded(case) == kept
        assert case.rows("SELECT bookmark FROM sinew.position") == [("t2",)]

    def test_is_no_reason_to_read_all_when_the_api_refuses_otherwise(
        self, home: psycopg.Connection, home_db: str
    ) -> None:
        def answer(asked: Asked) -> Reply:
            return Reply({"data": [], "token": "t"}, 404 if "token" in asked.query else 200)

        with psycopg.connect(home_db) as conn:
            conn.execute(TARGET)
        with serving(answer) as (server, _):
            case = SyncCase(server.url, home_db, self.TEXT)
            case.run(None, now())
            with pytest.raises(ApiRefusedError):
                case.run(None, now())


class TestAWindowWhoseEndIsInclusive:
    def test_takes_what_lies_within_its_last_second_and_the_next_one_converges(
        self, home: psycopg.Connection, home_db: str
    ) -> None:
        noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
        moments = [noon - timedelta(milliseconds=250), noon, noon + timedelta(milliseconds=1)]

        def answer(asked: Asked) -> Reply:
            first, last = (datetime.fromisoformat(asked.query[name]) for name in ("f", "t"))
            found = [(i, moment) for i, moment in enumerate(moments) if first <= moment <= last]
            return Reply(
                {"data": [{"id": i, "name": "x", "changed": m.isoformat()} for i, m in found]}
            )

        text = MAPPING.replace(
            "{by: since, parameter: since}",
            "{by: window, from_parameter: f, to_parameter: t, upper: inclusive, precision: seconds}",
        ).replace("style: offset, size: 3, size_parameter: limit", "style: none")
        text = text.replace("{column: changed}\n", "{column: changed}\n    vanished: delete\n")
        with psycopg.connect(home_db) as conn:
            conn.execute(TARGET)
        with serving(answer) as (server, _):
            case = SyncCase(server.url, home_db, text)
            edges = [(noon + timedelta(hours=hours)).isoformat() for hours in (-1, 0, 1)]
            for lower, upper in [edges[:2], edges[1:], edges[:2]]:
                case.run(lower, upper)
                assert loaded(case).keys() >= {0, 1}
        assert loaded(case).keys() == {0, 1, 2}
