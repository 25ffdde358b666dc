"""The demo shop's lists mislead their readers as asked: `next` lies, pages are empty, orders change between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from demo.shop.api import Churn, Pages, ShopServer
from tests.kit_shop_reader import ids, pages


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


class TestLyingPages:
    def steps(
        self, shop_api: ShopServer, session: requests.Session, style: str, count: int = 12
    ) -> list[list[int]]:
        """The ids of at most so many pages of 100 orders (five without a lie)."""
        walk = pages(session, f"{shop_api.url}/orders", style, 100)
        return [[o["id"] for o in page] for page, _ in zip(walk, range(count), strict=False)]

    @pytest.mark.parametrize("style", ["link", "next_url", "cursor"])
    def test_next_can_point_to_the_same_page(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        shop_api.control.set({"pages": Pages(lie="same", lie_from=3)})
        found = self.steps(shop_api, session, style)
        assert found[2] == found[3] == found[11] == list(range(201, 301))

    @pytest.mark.parametrize("style", ["link", "next_url", "cursor"])
    def test_next_can_lead_around_in_a_loop(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        shop_api.control.set({"pages": Pages(lie="loop", lie_from=3)})
        found = self.steps(shop_api, session, style)
        assert found[:3] == found[3:6] == found[6:9]

    @pytest.mark.parametrize("style", ["link", "link_relative", "next_url"])
    def test_next_can_lead_to_another_host(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        shop_api.control.set({"pages": Pages(lie="other_host", lie_from=2)})
        first = session.get(f"{shop_api.url}/orders", params={"style": style})
        address = first.links["next"]["url"] if first.links else first.json()["next"]
        second = session.get(requests.compat.urljoin(shop_api.url, address))
        address = second.links["next"]["url"] if second.links else second.json()["next"]
        assert address.startswith("http://other.example/orders?")

    @pytest.mark.parametrize("style", ["link", "next_url", "cursor"])
    def test_a_chain_can_go_on_for_ever_empty_or_from_the_start(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        shop_api.control.set({"pages": Pages(lie="endless")})
        assert [len(page) for page in self.steps(shop_api, session, style)] == [100] * 5 + [0] * 7
        shop_api.control.set({"pages": Pages(lie="restart")})
        found = self.steps(shop_api, session, style)
        assert found[5:10] == found[:5]

    def test_page_numbers_can_stick_to_the_last_page(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        shop_api.control.set({"pages": Pages(lie="endless")})
        found = self.steps(shop_api, session, "page_no_total")
        assert found[4] == found[5] == found[11] == list(range(401, 501))

    @pytest.mark.parametrize("style", ["link", "next_url", "cursor", "page"])
    def test_pages_in_the_middle_can_be_empty_and_nothing_is_lost(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        shop_api.control.set({"pages": Pages(empty={1, 3, 4, 8})})
        found = self.steps(shop_api, session, style)
        assert [len(page) for page in found] == [0, 100, 0, 0, 100, 100, 100, 0, 100]
        assert sum(found, []) == list(range(1, 501))

    @pytest.mark.parametrize("style", ["link", "cursor", "offset", "keyset", "keyset_updated"])
    @pytest.mark.parametrize("surplus", [-30, 30])
    def test_pages_can_hold_more_or_fewer_than_asked(
        self, shop_api: ShopServer, session: requests.Session, style: str, surplus: int
    ) -> None:
        shop_api.control.set({"pages": Pages(surplus=surplus)})
        found = self.steps(shop_api, session, style)
        assert len(found[0]) == 100 + surplus
        assert sorted(sum(found, [])) == list(range(1, 501))


class TestListsThatChange:
    def test_an_offset_walk_misses_records_when_earlier_ones_go(
        self, changing_shop: ShopServer, session: requests.Session
    ) -> None:
        changing_shop.control.set({"churn": Churn(kind="delete", every=1, rows=5, times=4)})
        everything = set(range(1, 301))
        found = ids(pages(session, f"{changing_shop.url}/orders", "offset", 50))
        churner = changing_shop.control.churner
        assert len(churner.deleted) == 20
        assert everything - churner.deleted - set(found), "nothing was missed"

    def test_a_newest_first_walk_meets_records_twice_when_new_ones_come(
        self, changing_shop: ShopServer, session: requests.Session
    ) -> None:
        changing_shop.control.set({"churn": {"kind": "insert", "every": 1, "rows": 3}})
        found = ids(pages(session, f"{changing_shop.url}/orders", "page", 50, sort="-id"))
        assert {count for count in Counter(found).values()} == {1, 2}

    @pytest.mark.parametrize("kind", ["insert", "delete", "update", "mixed"])
    def test_a_walk_by_key_meets_all_that_were_there_throughout(
        self, changing_shop: ShopServer, session: requests.Session, kind: Any
    ) -> None:
        changing_shop.control.set({"churn": Churn(kind=kind, every=2, rows=4)})
        found = ids(pages(session, f"{changing_shop.url}/orders", "keyset", 20))
        churner = changing_shop.control.churner
        changed = {"insert": churner.inserted, "delete": churner.deleted, "update": churner.updated}
        assert any(changed.values()) and (kind == "mixed" or changed[kind])
        assert len(found) == len(set(found))
        assert set(range(1, 301)) - churner.deleted <= set(found)
        assert set(found) <= set(range(1, 301)) | churner.inserted

    def test_a_changed_order_says_when_it_changed(
        self, changing_shop: ShopServer, session: requests.Session
    ) -> None:
        changing_shop.control.set({"churn": {"kind": "update", "every": 1}})
        before = session.get(f"{changing_shop.url}/orders?sort=-updated_at&limit=1").json()["data"]
        after = session.get(f"{changing_shop.url}/orders?sort=-updated_at&limit=1").json()["data"]
        assert after[0]["updated_at"] > before[0]["updated_at"]
        assert after[0]["id"] in changing_shop.control.churner.updated
