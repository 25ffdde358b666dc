"""Changes: a collection that is written to while its pages are counted still comes whole, and no record twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.shop.api.server import ShopServer
from sinew.api.counted import CountedReader
from sinew.api.documents import read_document
from sinew.api.pagers import Ask, Came
from sinew.api.pages import Page, read_pages
from sinew.errors import CollectionChangedError
from sinew.spec.pagination import Offset, PageNumber
from sinew.spec.resources import Resource
from tests.kit_api import QUICK, ApiSession, Asked, LocalServer, Reply, serving

STYLES: dict[str, dict[str, Any]] = {
    "overlap": {"style": "offset", "size": 3, "size_parameter": "limit"},
    "overlap, total": {"style": "offset", "size": 3, "size_parameter": "limit", "total": "$.total"},
    "offset, every_page": {
        "style": "offset", "size": 3, "size_parameter": "limit", "check": "every_page",
    },
    "page_number": {"style": "page_number", "size": 3, "size_parameter": "limit"},
    "page_number, total": {
        "style": "page_number", "size": 3, "size_parameter": "limit", "total": "$.total",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Write:
    """A change of the list: at the n-th request, at a place that the list's length bounds."""

    request: int
    kind: Literal["insert", "delete", "touch"]
    place: int


@dataclass
class Shelf:
    """A list that is written to between requests, and handed out by offset or page number."""

    items: list[dict[str, Any]]
    writes: list[Write] = field(default_factory=list)
    requests: int = 0
    deleted: set[int] = field(default_factory=set)
    _new: int = 1000

    def __call__(self, asked: Asked) -> Reply:
        for write in self.writes:
            if write.request == self.requests:
                self._apply(write)
        self.requests += 1
        limit = int(asked.query.get("limit", 3))
        page = int(asked.query.get("page", 1))
        offset = int(asked.query.get("offset", (page - 1) * limit))
        return Reply({"data": self.items[offset : offset + limit], "total": len(self.items)})

    def _apply(self, write: Write) -> None:
        if write.kind == "insert":
            self._new += 1
            self.items.insert(write.place % (len(self.items) + 1), {"id": self._new})
        elif self.items:
            place = write.place % len(self.items)
            if write.kind == "touch":
                self.items[place] = {"id": self.items[place]["id"], "at": self.requests}
            elif self.items[place]["id"] < 1000:
                # Only what was there at the start: an addition that is taken back at once leaves no trace.
                self.deleted.add(self.items.pop(place)["id"])


@pytest.fixture(scope="module")
def shelf_server() -> Iterator[tuple[LocalServer, ApiSession, list[Shelf]]]:
    """One server for all examples; the shelf that it hands out is replaced."""
    shelves: list[Shelf] = []
    with serving(lambda asked: shelves[-1](asked)) as (server, session):
        yield server, session, shelves


def listing(pagination: dict[str, Any], **more: Any) -> Resource:
    return Resource.model_validate(
        {
            "path": "/list",
            "records": "$.data",
            "key": ["$.id"],
            "pagination": pagination,
            "retry": QUICK,
        }
        | more
    )


def kept(pages: Iterator[Page]) -> list[int]:
    """The ids of a reader that drops the pages which are replaced."""
    found: dict[int, list[int]] = {}
    for page in pages:
        found = {number: ids for number, ids in found.items() if number < page.number}
        found[page.number] = [json.loads(record.text)["id"] for record in page.records]
    return [one for number in sorted(found) for one in found[number]]


MIXED = ("insert", "delete", "touch")


def writes_of(kinds: tuple[str, ...]) -> st.SearchStrategy[list[Write]]:
    """Up to eight changes in the course of a reading."""
    one = st.builds(Write, st.integers(0, 14), st.sampled_from(kinds), st.integers(0, 40))
    return st.lists(one, max_size=8)


# An addition and a deletion that make up for each other between two requests are what a second look cannot
# see; an overlap can.
CHANGES = st.one_of(writes_of(("insert", "touch")), writes_of(("delete", "touch")))
LENGTHS = st.integers(0, 17)


def came(ask: Ask, shelf: Shelf) -> Came:
    """The shelf's answer, without a server in between."""
    query = {name: str(value) for name, value in ask.params.items()}
    document = read_document(json.dumps(shelf(Asked("GET", "/", query, {}, b"")).body).encode())
    return Came(document, document.root["data"], "http://shelf/", {}, "GET /", datetime.now(UTC))


def counted(name: str, shelf: Shelf) -> list[int]:
    """The ids that a reader of the shelf keeps."""
    style = listing({**STYLES[name], "rereads": 30}).pagination
    assert isinstance(style, PageNumber | Offset)
    found: dict[int, list[int]] = {}
    for page in CountedReader(style, ["$.id"], lambda ask: came(ask, shelf), "/list").read(None):
        found = {number: ids for number, ids in found.items() if number < page.number}
        found[page.number] = [value["id"] for value in page.values]
    return [one for number in sorted(found) for one in found[number]]


def check(ids: list[int], length: int, shelf: Shelf) -> None:
    """What was there throughout came, and nothing came twice."""
    assert len(ids) == len(set(ids))
    assert set(range(length)) - shelf.deleted <= set(ids)


class TestAnyChanges:
    @pytest.mark.parametrize("name", STYLES)
    @settings(max_examples=250, deadline=None)
    @given(length=LENGTHS, data=st.data())
    def test_what_was_there_throughout_comes_and_nothing_comes_twice(
        self, name: str, length: int, data: st.DataObject
    ) -> None:
        shelf = shelf_of(length, *data.draw(writes_of(MIXED) if "overlap" in name else CHANGES))
        check(counted(name, shelf), length, shelf)

    @pytest.mark.parametrize("name", STYLES)
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(length=LENGTHS, writes=CHANGES)
    def test_over_http_too(
        self,
        name: str,
        length: int,
        writes: list[Write],
        shelf_server: tuple[LocalServer, ApiSession, list[Shelf]],
    ) -> None:
        _, session, shelves = shelf_server
        shelf = shelf_of(length, *writes)
        shelves.append(shelf)
        pages = read_pages(session, listing({**STYLES[name], "rereads": 30}), {})
        check(kept(pages), length, shelf)


def read_with(shelf: Shelf, pagination: dict[str, Any], **more: Any) -> tuple[list[int], int]:
    """The ids that a reader keeps, and the number of requests."""
    with serving(shelf) as (server, session):
        return kept(read_pages(session, listing(pagination, **more), {})), len(server.asked)


def shelf_of(length: int, *writes: Write) -> Shelf:
    return Shelf([{"id": i} for i in range(length)], list(writes))


class TestOneChange:
    def test_without_a_check_a_deletion_loses_a_record(self) -> None:
        # What the other tests are there to prevent.
        ids, _ = read_with(
            shelf_of(9, Write(1, "delete", 0)), STYLES["overlap"] | {"check": "none"}
        )
        assert 3 not in ids

    def test_without_a_check_an_addition_brings_a_record_twice(self) -> None:
        ids, _ = read_with(
            shelf_of(9, Write(1, "insert", 0)), STYLES["overlap"] | {"check": "none"}
        )
        assert sorted(ids) == sorted([*range(9), 2])

    @pytest.mark.parametrize("name", STYLES)
    def test_an_addition_and_a_deletion_that_hide_each_other_are_noticed(self, name: str) -> None:
        # The total stays what it was; record 3 would move from the second page to the first.
        writes = (Write(1, "delete", 0), Write(1, "insert", 8))
        ids, _ = read_with(shelf_of(9, *writes), STYLES[name])
        assert set(range(1, 9)) <= set(ids) and len(ids) == len(set(ids))

    def test_that_is_what_on_change_misses(self) -> None:
        writes = (Write(1, "delete", 0), Write(1, "insert", 8))
        ids, _ = read_with(
            shelf_of(9, *writes), STYLES["page_number, total"] | {"check": "on_change"}
        )
        assert 3 not in ids

    @pytest.mark.parametrize("kind", ["insert", "delete"])
    def test_on_change_notices_one_of_them_alone(self, kind: Literal["insert", "delete"]) -> None:
        shelf = shelf_of(9, Write(1, kind, 0))
        ids, _ = read_with(shelf, STYLES["page_number, total"] | {"check": "on_change"})
        assert set(range(9)) - shelf.deleted <= set(ids) and len(ids) == len(set(ids))

    def test_a_record_that_merely_changed_did_not_move(self) -> None:
        # The last record of the first page is written to; it is the same by its key.
        _, requests = read_with(shelf_of(9, Write(1, "touch", 2)), STYLES["overlap"])
        _, quiet = read_with(shelf_of(9), STYLES["overlap"])
        assert requests == quiet

    def test_without_a_key_it_is_another_record(self) -> None:
        ids, requests = read_with(shelf_of(9, Write(1, "touch", 2)), STYLES["overlap"], key=[])
        _, quiet = read_with(shelf_of(9), STYLES["overlap"])
        assert ids == list(range(9)) and requests > quiet

    def test_only_what_may_have_moved_is_read_again(self) -> None:
        # 40 pages; the change is before the 38th.
        shelf = shelf_of(80, Write(38, "delete", 74))
        ids, requests = read_with(shelf, STYLES["overlap"])
        _, quiet = read_with(shelf_of(80), STYLES["overlap"])
        assert ids == [i for i in range(80) if i != 74]
        assert requests - quiet <= 6

    def test_a_deletion_at_the_very_end_is_noticed(self) -> None:
        # The last full page has been read; the empty one after it comes when one record fewer is there.
        ids, _ = read_with(shelf_of(7, Write(3, "delete", 0)), STYLES["overlap"])
        assert set(range(1, 7)) <= set(ids)


class TestUnrest:
    @pytest.mark.parametrize("name", STYLES)
    def test_a_collection_that_never_rests_ends_in_an_error_that_can_be_tried_again(
        self, name: str
    ) -> None:
        writes = [Write(i, "insert", 0) for i in range(1, 3000)]
        with pytest.raises(
            CollectionChangedError, match="it is tried again; if it stays, read it by cursor"
        ):
            read_with(shelf_of(30, *writes), STYLES[name] | {"rereads": 3})

    def test_a_change_before_the_place_where_a_reading_began_again_is_told(self) -> None:
        shelf = shelf_of(12)
        with serving(shelf) as (_, session):
            paged = listing(STYLES["overlap"])
            second = list(read_pages(session, paged, {}))[1]
            assert second.cursor is not None
            shelf.items.pop(0)
            with pytest.raises(CollectionChangedError, match="read from its start"):
                list(read_pages(session, paged, {}, start=second.cursor))

    @pytest.mark.parametrize("name", STYLES)
    @pytest.mark.parametrize("kind", ["insert", "delete", "mixed"])
    def test_the_shop_comes_whole_while_orders_come_and_go(self, name: str, kind: str) -> None:
        with ShopServer() as shop_api, ApiSession(shop_api.url) as session:
            before = {row[0] for row in shop_api.store.rows("SELECT id FROM orders")}
            shop_api.control.set({"churn": {"kind": kind, "every": 3, "times": 4}})
            pagination = {**STYLES[name], "size": 100}
            style = "page" if "page" in pagination["style"] else "offset"
            if style == "page":
                pagination["size_parameter"] = "per_page"
            orders = listing(
                pagination, path="/orders", params={"style": style, "sort": "-created_at"}
            )
            ids = kept(read_pages(session, orders, {}))
            churner = shop_api.control.churner
            assert churner.inserted | churner.deleted or kind == "update"
            assert len(ids) == len(set(ids))
            assert before - churner.deleted <= set(ids)
