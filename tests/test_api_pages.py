"""Pages: every style hands out each record once, and no server leads a reading astray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.shop.api.control import Control
from demo.shop.api.server import ShopServer
from sinew.api.pages import Page, read_pages
from sinew.errors import (
    ApiRefusedError,
    CollectionChangedError,
    ConfigurationError,
    InterruptedStepError,
    PaginationError,
    SinewError,
)
from sinew.spec.resources import Resource
from tests.kit_api import QUICK, ApiSession, Asked, Reply, serving

SIZE = 150
CURSOR = {"style": "cursor", "next": "$.meta.next_cursor", "parameter": "cursor"}
BODIES = {"size": SIZE, "size_parameter": "limit"}
PAGES = {"size": SIZE, "size_parameter": "per_page"}
UPDATED = {"after_updated_at": "$.updated_at", "after_id": "$.id"}
# Name: (the shop's style, where the records are, how they are paged).
STYLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "link_header": ("link", "$[*]", {"style": "link_header"}),
    "link_header, relative": ("link_relative", "$", {"style": "link_header"}),
    "next_url": ("next_url", "$.data[*]", {"style": "next_url", "next": "$.next"}),
    "next_url, relative": ("next_url_relative", "$.data", {"style": "next_url", "next": "$.next"}),
    "cursor": ("cursor", "$.data[*]", CURSOR | BODIES),
    "cursor and has_more": ("cursor", "$.data", CURSOR | BODIES | {"has_more": "$.meta.has_more"}),
    "page_number and total": ("page", "$.data", {"style": "page_number", "total": "$.total", **PAGES}),
    "page_number and total_pages": (
        "page", "$.data",
        {"style": "page_number", "total_pages": "$.total_pages", "check": "on_change", **PAGES},
    ),
    "page_number to an empty page": ("page_no_total", "$.data", {"style": "page_number", **PAGES}),
    "page_number to a short page": (
        "page_no_total", "$.data",
        {"style": "page_number", "end": "short", "check": "none", **PAGES},
    ),
    "offset and total": ("offset", "$.data", {"style": "offset", "total": "$.total", **BODIES}),
    "offset to an empty page": ("offset", "$.data", {"style": "offset", **BODIES}),
    "offset by size": (
        "offset", "$.data", {"style": "offset", "advance": "size", "check": "every_page", **BODIES},
    ),
    "keyset": ("keyset", "$.data", {"style": "keyset", "parameters": {"after_id": "$.id"}, **BODIES}),
    "keyset of two, has_more": (
        "keyset_updated", "$.data",
        {"style": "keyset", "parameters": UPDATED, "has_more": "$.has_more", **BODIES},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop_api() -> Iterator[ShopServer]:
    with ShopServer() as server:
        yield server


@pytest.fixture
def control(shop_api: ShopServer) -> Iterator[Control]:
    shop_api.control.reset()
    yield shop_api.control
    shop_api.control.reset()


@pytest.fixture
def session(shop_api: ShopServer, control: Control) -> Iterator[ApiSession]:
    with ApiSession(shop_api.url) as opened:
        yield opened


def resource(name: str, **more: Any) -> Resource:
    style, records, pagination = STYLES[name]
    params = {"style": style, **more.pop("params", {})}
    if "size" not in pagination:
        params["limit"] = SIZE
    declared = {
        "path": "/orders",
        "params": params,
        "records": records,
        "key": ["$.id"],
        "retry": QUICK,
    }
    return Resource.model_validate(declared | {"pagination": pagination} | more)


def ids(pages: Iterator[Page] | list[Page]) -> list[int]:
    """The ids of all records, pages that came again in the place of those that they replace."""
    kept: dict[int, list[int]] = {}
    for page in pages:
        kept = {number: found for number, found in kept.items() if number < page.number}
        kept[page.number] = [json.loads(record.text)["id"] for record in page.records]
    return [one for number in sorted(kept) for one in kept[number]]


def all_ids(shop_api: ShopServer) -> list[int]:
    return [row[0] for row in shop_api.store.rows("SELECT id FROM orders ORDER BY id")]


class TestEveryStyle:
    @pytest.mark.parametrize("name", STYLES)
    def test_each_record_comes_once(
        self, name: str, shop_api: ShopServer, session: ApiSession
    ) -> None:
        pages = list(read_pages(session, resource(name), {}))
        assert sorted(ids(pages)) == all_ids(shop_api)
        assert [page.number for page in pages] == list(range(1, len(pages) + 1))
        assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]

    @pytest.mark.parametrize("name", STYLES)
    def test_each_record_comes_once_through_faults(
        self, name: str, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        faults = ("server_error", "drop_before", "drop_after", "half_body", "wrong_json")
        control.set({"faults": dict.fromkeys(faults, 0.08) | {"in_a_row": 2}})
        assert sorted(ids(read_pages(session, resource(name), {}))) == all_ids(shop_api)
        assert control.counters.faults

    @pytest.mark.parametrize("name", STYLES)
    def test_a_reading_goes_on_from_any_page(
        self, name: str, shop_api: ShopServer, session: ApiSession
    ) -> None:
        whole = list(read_pages(session, resource(name), {}))
        for page in whole[:-1:4]:
            # The cursor is kept as JSON in between.
            start = json.loads(json.dumps(page.cursor))
            rest = list(read_pages(session, resource(name), {}, start=start))
            assert [one.number for one in rest] == [one.number for one in whole[page.number :]]
            assert ids(rest) == ids(whole[page.number :])

    @pytest.mark.parametrize("name", STYLES)
    def test_a_collection_without_records_is_one_page(self, name: str, session: ApiSession) -> None:
        nothing = resource(name, params={"updated_from": "2099-01-01T00:00:00Z"})
        assert [
            (page.number, page.records, page.is_last) for page in read_pages(session, nothing, {})
        ] == [(1, [], True)]

    @pytest.mark.parametrize(
        "name", [name for name in STYLES if "short" not in name and "by size" not in name]
    )
    def test_a_server_that_sends_fewer_than_asked_loses_nothing(
        self, name: str, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"max_size": 70}})
        assert sorted(ids(read_pages(session, resource(name), {}))) == all_ids(shop_api)

    @pytest.mark.parametrize(
        "name", ["link_header", "next_url", "cursor", "offset and total", "keyset"]
    )
    def test_nor_does_one_that_sends_more(
        self, name: str, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"surplus": 7}})
        assert sorted(ids(read_pages(session, resource(name), {}))) == all_ids(shop_api)

    @pytest.mark.parametrize("name", ["link_header", "next_url", "cursor", "page_number and total"])
    def test_empty_pages_in_the_middle_are_passed(
        self, name: str, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"empty": [2, 3, 7]}})
        pages = list(read_pages(session, resource(name), {}))
        assert sorted(ids(pages)) == all_ids(shop_api)
        assert [page.number for page in pages if not page.records] == [2, 3, 7]

    def test_post_with_the_page_in_the_body(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        style = {**CURSOR, **BODIES, "send_in": "body"}
        search = resource(
            "cursor", path="/orders/search", method="POST", params={}, pagination=style
        )
        search = search.model_copy(update={"params": {}, "body": {"style": "cursor"}})
        assert ids(read_pages(session, search, {})) == all_ids(shop_api)

    def test_records_come_as_the_server_has_them(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        for page in read_pages(session, resource("cursor"), {}):
            for record in page.records:
                exact = json.loads(record.text, parse_float=str)
                body = shop_api.store.value("SELECT body FROM orders WHERE id = ?", (exact["id"],))
                assert exact == json.loads(body, parse_float=str) and exact["fiscal_id"] > 2**53
                assert exact["tax_rate"] == "8.250" and record.flaws == ()


class TestLies:
    @pytest.mark.parametrize("name", ["link_header", "next_url", "cursor"])
    @pytest.mark.parametrize("lie", ["same", "loop"])
    def test_a_circle_is_found_and_named(
        self, name: str, lie: str, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"lie": lie, "lie_from": 4}})
        read = []
        with pytest.raises(PaginationError, match="for the second time: its pages go in a circle"):
            read += [page.number for page in read_pages(session, resource(name), {})]
        assert control.counters.count() <= 6

    @pytest.mark.parametrize("name", ["link_header", "next_url"])
    def test_a_next_page_on_another_server_is_refused(
        self, name: str, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"lie": "other_host", "lie_from": 2}})
        with pytest.raises(
            PaginationError, match=r"another server, http://other.example:80; allowed"
        ):
            list(read_pages(session, resource(name), {}))
        assert control.counters.count() == 2

    @pytest.mark.parametrize("name", ["link_header", "next_url", "cursor"])
    def test_pages_that_stay_empty_and_never_end_are_left(
        self, name: str, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"lie": "endless"}})
        with pytest.raises(PaginationError, match="21th empty page in a row"):
            list(read_pages(session, resource(name), {}))

    @pytest.mark.parametrize("name", ["link_header", "next_url", "cursor"])
    def test_full_pages_that_never_end_are_left(
        self, name: str, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"lie": "restart"}})
        bounded = resource(name)
        bounded = bounded.model_copy(
            update={"pagination": bounded.pagination.model_copy(update={"page_limit": 30})}
        )
        with pytest.raises(PaginationError, match="more than 30 pages"):
            list(read_pages(session, bounded, {}))

    def test_a_page_number_that_is_not_heeded_is_named(
        self, session: ApiSession, control: Control
    ) -> None:
        control.set({"pages": {"lie": "endless"}})
        with pytest.raises(PaginationError, match="ignores 'page', or repeats its last page"):
            list(read_pages(session, resource("page_number to an empty page"), {}))

    @pytest.mark.parametrize("style", ["page_number", "offset"])
    @pytest.mark.parametrize("check", ["none", "every_page"])
    def test_a_server_that_ignores_the_place_is_told(self, style: str, check: str) -> None:
        paged = listing({"style": style, "check": check})
        with serving(lambda asked: Reply([{"id": 1}, {"id": 2}])) as (_, session):
            with pytest.raises(PaginationError, match="is the same as the one before it"):
                list(read_pages(session, paged, {}))

    def test_a_server_that_ignores_the_offset_is_left_where_pages_overlap(self) -> None:
        paged = listing({"style": "offset"})
        with serving(lambda asked: Reply([{"id": 1}, {"id": 2}])) as (_, session):
            with pytest.raises(CollectionChangedError, match="offset may also be ignored"):
                list(read_pages(session, paged, {}))


def listing(pagination: dict[str, Any], **more: Any) -> Resource:
    declared = {"path": "/list", "pagination": pagination, "key": ["$.id"], "retry": QUICK}
    return Resource.model_validate(declared | more)


def refused(
    pagination: dict[str, Any], handler: Callable[[Asked], Reply], **more: Any
) -> SinewError:
    with serving(handler) as (_, session):
        with pytest.raises(SinewError) as raised:
            list(read_pages(session, listing(pagination, **more), {}))
    return raised.value


class TestAnswersThatDoNotFit:
    def test_an_error_with_status_200_is_no_empty_page(self) -> None:
        error = refused(
            {"style": "none"},
            lambda asked: Reply({"error": "quota exceeded", "customer": "Ann"}),
            records="$.data[*]",
        )
        assert isinstance(error, ApiRefusedError)
        assert "nothing at $.data[*]: it says 'quota exceeded'" in str(error)

    @pytest.mark.parametrize("path", ["$.data[?@.id > 0]", "$.data[*].lines[*]", "$.data..lines"])
    def test_nor_is_it_where_the_records_are_chosen_by_a_filter(self, path: str) -> None:
        error = refused({"style": "none"}, lambda asked: Reply({"error": "quota"}), records=path)
        assert isinstance(error, ApiRefusedError) and "it says 'quota'" in str(error)

    def test_a_filter_may_let_nothing_through(self) -> None:
        chosen = listing({"style": "none"}, records="$.data[?@.id > 1]")
        with serving(lambda asked: Reply({"data": [{"id": 1}]})) as (_, session):
            assert [page.records for page in read_pages(session, chosen, {})] == [[]]

    @pytest.mark.parametrize(
        "style",
        [
            {"style": "page_number", "check": "none", "has_more": "$.hasMore"},
            {"style": "offset", "check": "none", "has_more": "$.hasMore"},
            {"style": "keyset", "parameters": {"after": "$.id"}, "has_more": "$.hasMore"},
            {"style": "cursor", "next": "$.next", "parameter": "after", "has_more": "$.hasMore"},
        ],
        ids=lambda style: str(style["style"]),
    )
    def test_a_word_about_more_that_is_not_there_is_not_the_end(
        self, style: dict[str, Any]
    ) -> None:
        def answer(asked: Asked) -> Reply:
            place = asked.query.get("after") or asked.query.get("offset") or asked.query.get("page")
            first = int(place or 0) - (asked.query.get("page") is not None)
            return Reply(
                {
                    "data": [{"id": first + 1}] if first < 3 else [],
                    "next": first + 1 if first < 3 else None,
                }
            )

        with serving(answer) as (_, session):
            assert ids(read_pages(session, listing(style, records="$.data"), {})) == [1, 2, 3]

    def test_records_in_another_place_are_told_by_what_is_there(self) -> None:
        reply = Reply({"items": [{"id": 1}], "ann@example.com": 1})
        error = refused({"style": "none"}, lambda asked: reply, records="$.data[*]")
        assert "it has the members items" in str(error) and "ann" not in str(error)

    @pytest.mark.parametrize("body", [{}, {"data": None}])
    def test_left_out_records_are_none_where_the_mapping_says_so(self, body: Any) -> None:
        lenient = listing({"style": "none"}, records="$.data[*]", no_records="empty")
        with serving(lambda asked: Reply(body)) as (_, session):
            assert [page.records for page in read_pages(session, lenient, {})] == [[]]

    def test_a_next_page_that_nobody_declared_is_not_left_out_in_silence(self) -> None:
        reply = Reply([{"id": 1}], headers={"Link": '<?page=2>; rel="next"'})
        error = refused({"style": "none"}, lambda asked: reply)
        assert isinstance(error, ConfigurationError) and "{style: link_header}" in str(error)

    def test_nor_is_what_a_part_of_a_list_leaves_out(self) -> None:
        part = Reply([{"id": 1}], status=206, headers={"Content-Range": "0-0/3"})
        error = refused({"style": "none"}, lambda asked: part)
        assert isinstance(error, ConfigurationError) and "1 of 3 (Content-Range)" in str(error)
        whole = Reply([{"id": 1}], headers={"Content-Range": "items 0-0/1"})
        with serving(lambda asked: whole) as (_, session):
            assert ids(read_pages(session, listing({"style": "none"}), {})) == [1]

    def test_more_without_a_cursor_is_told(self) -> None:
        style = {"style": "cursor", "next": "$.next", "parameter": "c", "has_more": "$.more"}
        error = refused(style, lambda asked: Reply({"more": True, "d": []}), records="$.d")
        assert "says that there is more, but $.next holds no cursor" in str(error)

    @pytest.mark.parametrize(
        ("pagination", "body", "said"),
        [
            ({"style": "next_url", "next": "$.next"}, {"next": 7}, "is no text"),
            ({"style": "next_url", "next": "$.next"}, {"next": "mailto:x"}, "is no address"),
            ({"style": "cursor", "next": "$.next", "parameter": "c"}, {"next": [1]}, "is a list"),
            (
                {"style": "cursor", "next": "$.next", "parameter": "c", "has_more": "$.m"},
                {"m": "yes"}, "neither true nor false",
            ),
            ({"style": "page_number", "total": "$.total"}, {"total": "many"}, "no whole number"),
            ({"style": "keyset", "parameters": {"after": "$.x"}}, {}, "'$.x' is nothing"),
        ],
    )  # fmt: skip
    def test_what_says_where_the_next_page_is_must_make_sense(
        self, pagination: dict[str, Any], body: Any, said: str
    ) -> None:
        error = refused(pagination, lambda asked: Reply({"d": [{"id": 1}], **body}), records="$.d")
        assert isinstance(error, PaginationError) and said in str(error)

    def test_zero_is_a_cursor(self) -> None:
        def answer(asked: Asked) -> Reply:
            place = asked.query.get("c")
            return Reply({"d": [{"id": place}], "next": {None: 0, "0": 1}.get(place)})

        style = {"style": "cursor", "next": "$.next", "parameter": "c"}
        with serving(answer) as (server, session):
            pages = list(read_pages(session, listing(style, records="$.d"), {}))
        assert [asked.query.get("c") for asked in server.asked] == [None, "0", "1"]
        assert len(pages) == 3

    def test_a_flawed_record_does_not_spoil_its_page(self) -> None:
        raw = rb'[{"id":1},{"id":2,"name":"a\u0000b"},{"id":3,"n":NaN},{"id":4}]'
        with serving(lambda asked: Reply(raw)) as (_, session):
            (page,) = read_pages(session, listing({"style": "none"}), {})
        assert [bool(record.flaws) for record in page.records] == [False, True, True, False]


class TestALinkHeader:
    @pytest.mark.parametrize(
        "link",
        [
            '<{}>; rel="next"',
            "<{}>; rel=next",
            '<{}>; REL="Next"',
            '<{}>; title="a; b, c"; rel="next"',
            '<{}>; rel="prev next"; type="application/json"',
            '</first>; rel="first", <{}>;rel="next"',
            '</x?fields=a,b>; rel="first" , <{}>; rel = "next"',
        ],
    )
    def test_is_read_however_it_is_written(self, link: str) -> None:
        def answer(asked: Asked) -> Reply:
            if "page" in asked.query:
                return Reply([{"id": 2}])
            return Reply([{"id": 1}], headers={"Link": link.format("/list?fields=a,b&page=2")})

        with serving(answer) as (_, session):
            assert ids(read_pages(session, listing({"style": "link_header"}), {})) == [1, 2]


class TestInclusiveKeyset:
    @pytest.mark.parametrize("cap", [100, 4])
    @pytest.mark.parametrize(
        "days", [[1], [1, 1, 1], [1, 1, 2, 2, 2, 3, 4, 4, 5], [1] * 3 + [2] * 3]
    )
    def test_records_that_share_a_value_come_once(self, days: list[int], cap: int) -> None:
        records = [{"id": i, "day": day} for i, day in enumerate(days)]

        def answer(asked: Asked) -> Reply:
            since = int(asked.query.get("since", 0))
            return Reply([one for one in records if one["day"] >= since][: min(cap, 5)])

        style = {"style": "keyset", "parameters": {"since": "$.day"}, "inclusive": True, "size": 5}
        with serving(answer) as (_, session):
            assert ids(read_pages(session, listing(style), {})) == list(range(len(days)))

    def test_a_value_that_fills_a_page_is_told(self) -> None:
        error = refused(
            {"style": "keyset", "parameters": {"since": "$.day"}, "inclusive": True, "size": 3},
            lambda asked: Reply([{"id": i, "day": 1} for i in range(3)]),
        )
        assert "more records share these values than fit into a page" in str(error)


class TestReading:
    def test_a_page_is_asked_for_when_it_is_wanted_and_not_before(
        self, session: ApiSession, control: Control
    ) -> None:
        pages = read_pages(session, resource("cursor"), {})
        assert control.counters.count() == 0
        next(pages)
        assert control.counters.count() == 1

    def test_it_stops_when_asked_to_and_does_not_look_complete(self, session: ApiSession) -> None:
        read: list[int] = []
        pages = read_pages(session, resource("cursor"), {}, stop_requested=lambda: len(read) > 2)
        with pytest.raises(InterruptedStepError):
            read.extend(page.number for page in pages)
        assert read == [1, 2, 3]

    def test_names_in_braces_are_filled_in_and_encoded(self) -> None:
        named = Resource.model_validate(
            {"path": "/shops/{shop}/list", "params": {"q": "{text}", "n": [1, "{shop}"]}}
        )
        with serving(lambda asked: Reply([])) as (server, session):
            list(read_pages(session, named, {"shop": "a/b ?ö", "text": "x&y=1"}))
        assert server.asked[0].path == "/shops/a%2Fb%20%3F%C3%B6/list"
        assert server.asked[0].query == {"q": "x&y=1", "n": "a/b ?ö"}

    @pytest.mark.parametrize("value", ["", ".", "..", None])
    def test_a_value_that_would_lead_elsewhere_is_refused(self, value: Any) -> None:
        named = Resource.model_validate({"path": "/shops/{shop}"})
        with serving(lambda asked: Reply([])) as (server, session):
            with pytest.raises(SinewError, match="'shop' is "):
                list(read_pages(session, named, {"shop": value}))
        assert server.asked == []

    def test_a_name_that_is_not_given_is_told(self, session: ApiSession) -> None:
        named = Resource.model_validate({"path": "/shops/{shop}"})
        with pytest.raises(ConfigurationError, match=r"\{shop\} is not filled in; given: town"):
            list(read_pages(session, named, {"town": 1}))

    def test_the_bookmark_of_each_page_is_handed_over_and_taken_back(self) -> None:
        def answer(asked: Asked) -> Reply:
            return Reply({"d": [], "token": "t" + asked.query.get("sync", "0")})

        marked = listing(
            {"style": "none"},
            records="$.d",
            incremental={"by": "bookmark", "parameter": "sync", "at": "$.token"},
        )
        with serving(answer) as (_, session):
            (first,) = read_pages(session, marked, {})
            (second,) = read_pages(session, marked, {"bookmark": first.bookmark})
        assert (first.bookmark, second.bookmark) == ("t0", "tt0")
