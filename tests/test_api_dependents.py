"""Dependents: a resource is read for each record of a parent, side by side, in the parents' order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.shop.api.server import ShopServer
from sinew.api.dependents import read_each, taken
from sinew.api.pages import read_pages
from sinew.errors import (
    ApiRefusedError,
    ConfigurationError,
    FatalError,
    InterruptedStepError,
    PaginationError,
)
from sinew.spec.resources import Each, Resource
from tests.kit_api import QUICK, ApiSession, Asked, Reply, serving

CURSOR = {
    "style": "cursor", "next": "$.meta.next_cursor", "parameter": "cursor", "size_parameter": "limit",
}  # fmt: skip
ORDERS = {
    "path": "/orders",
    "records": "$.data",
    "pagination": {**CURSOR, "size": 20},
    "retry": QUICK,
}


def lines(of: Any = "orders", concurrency: int = 4, **more: Any) -> Resource:
    declared = {
        "path": "/orders/{order_id}/lines",
        "records": "$.data",
        "pagination": {**CURSOR, "size": 2},
        "each": {"of": of, "take": {"order_id": "$.id"}},
        "limits": {"concurrency": concurrency},
        "retry": QUICK,
    }
    return Resource.model_validate(declared | more)


@pytest.fixture(scope="module")
def shop_api() -> Iterator[ShopServer]:
    with ShopServer() as server:
        yield server


@pytest.fixture
def session(shop_api: ShopServer) -> Iterator[ApiSession]:
    shop_api.control.reset()
    with ApiSession(shop_api.url) as opened:
        yield opened


class TestReadEach:
    @pytest.mark.parametrize("concurrency", [1, 4])
    @pytest.mark.parametrize("style", ["cursor", "offset"])
    def test_every_line_of_every_order_comes_in_order(
        self, shop_api: ShopServer, session: ApiSession, concurrency: int, style: str
    ) -> None:
        shop_api.store.delete_orders(range(61, 3000))
        orders = ORDERS
        if style == "offset":
            orders = ORDERS | {"params": {"style": "offset"}, "pagination": {"style": "offset"}}
        dependents = lines(orders, concurrency)
        pages = list(read_pages(session, dependents, {}))
        found = [
            (page.parent["order_id"], json.loads(record.text)["id"])
            for page in pages
            if page.parent is not None
            for record in page.records
        ]
        expected = shop_api.store.rows(
            "SELECT orders.id, json_extract(line.value, '$.id') FROM orders,"
            " json_each(orders.body, '$.lines') AS line ORDER BY 1, 2"
        )
        assert found == expected
        # Numbers count within a parent, and parents are counted.
        assert [page.number for page in pages[:2]] in ([1, 1], [1, 2])
        assert sorted({page.parent_number for page in pages}) == list(range(1, 61))

    def test_as_many_as_allowed_are_under_way_and_no_more(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        shop_api.control.set({"faults": {"slow": 1, "slow_seconds": 0.02}})
        parents = [{"order_id": i} for i in range(1, 31)]
        list(read_each(session, lines(concurrency=5), parents, {}))
        assert shop_api.control.counters.peak == 5

    def test_a_page_that_nobody_takes_keeps_its_reader_from_going_on(self) -> None:
        def answer(asked: Asked) -> Reply:
            page = int(asked.query.get("cursor", 0))
            return Reply(
                {"data": [{"id": page}], "meta": {"next_cursor": page + 1 if page < 9 else None}}
            )

        with serving(answer) as (server, session):
            pages = read_each(
                session, lines(concurrency=3), [{"order_id": i} for i in range(9)], {}
            )
            next(pages)
            settled = _settled(server.asked)
            # One page of each of three parents; the one that was taken has not been followed yet.
            assert len(settled) == 3 and {one.query.get("cursor") for one in settled} == {None}
            pages.close()  # type: ignore[attr-defined]
            assert len(server.asked) == 3

    def test_parents_are_drawn_as_they_are_needed(self, session: ApiSession) -> None:
        drawn: list[int] = []

        def parents() -> Iterator[dict[str, Any]]:
            for i in range(1, 1000):
                drawn.append(i)
                yield {"order_id": i}

        pages = read_each(session, lines(concurrency=3), parents(), {})
        next(pages)
        assert len(drawn) == 3
        pages.close()  # type: ignore[attr-defined]

    def test_no_thread_is_left_behind(self, session: ApiSession) -> None:
        pages = read_each(session, lines(), [{"order_id": i} for i in range(1, 50)], {})
        next(pages)
        pages.close()  # type: ignore[attr-defined]
        assert not [one for one in threading.enumerate() if one.name.startswith("sinew parent")]


def _settled(asked: list[Asked]) -> list[Asked]:
    """What was asked, once nothing more comes."""
    seen, since = -1, time.monotonic()
    while len(asked) != seen or time.monotonic() - since < 0.2:
        if len(asked) != seen:
            seen, since = len(asked), time.monotonic()
        time.sleep(0.01)
    return list(asked)


class TestTrouble:
    def test_a_parent_that_is_gone_fails_or_is_skipped_as_the_mapping_says(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        parents = [{"order_id": 1}, {"order_id": 999_999}, {"order_id": 2}]
        with pytest.raises(ApiRefusedError, match=r"/orders/999999/lines.* answers 404"):
            list(read_each(session, lines(), parents, {}))
        skipping = lines(each={"of": "orders", "take": {"order_id": "$.id"}, "gone": "skip"})
        pages = list(read_each(session, skipping, parents, {}))
        assert {page.parent_number for page in pages} == {1, 3}

    def test_an_error_of_one_parent_comes_after_the_pages_before_it(self) -> None:
        def answer(asked: Asked) -> Reply:
            if asked.path == "/orders/3/lines":
                return Reply({"data": [], "meta": {"next_cursor": [1]}})
            return Reply({"data": [], "meta": {}})

        read = []
        with serving(answer) as (_, session):
            with pytest.raises(PaginationError, match="/orders/3/lines"):
                for page in read_each(session, lines(), [{"order_id": i} for i in range(9)], {}):
                    read.append(page.parent_number)
        assert read == [1, 2, 3]

    def test_it_stops_when_asked_to(self, session: ApiSession) -> None:
        read: list[int] = []
        parents = [{"order_id": i} for i in range(1, 50)]
        pages = read_each(session, lines(), parents, {}, stop_requested=lambda: len(read) >= 2)
        with pytest.raises(InterruptedStepError):
            for page in pages:
                read.append(page.number)

    def test_parents_that_are_only_named_have_to_be_given(self, session: ApiSession) -> None:
        with pytest.raises(
            ConfigurationError, match="those of 'orders': give its records to read_each"
        ):
            list(read_pages(session, lines(), {}))

    def test_a_parent_without_the_value_is_told(self) -> None:
        each = Each.model_validate({"of": "orders", "take": {"order_id": "$.number"}})
        assert taken(each, '{"number": 9007199254740993}') == {"order_id": 9007199254740993}
        with pytest.raises(FatalError, match=r"nothing at \$.number: correct `each.take`"):
            taken(each, '{"id": 1}')
