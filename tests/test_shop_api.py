"""The demo shop hands out its data as real APIs do: every style of pages, filters, awkward values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from demo.shop.api import STYLES, ShopProcess, ShopServer, Size, Store, fill, fill_from_legacy
from demo.shop.api.timestamps import canonical
from tests.kit_shop_reader import READERS, ids, pages


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def orders_of(store: Store, where: str = "true", order: str = "id") -> list[int]:
    return [row[0] for row in store.rows(f"SELECT id FROM orders WHERE {where} ORDER BY {order}")]


class TestPages:
    def test_every_style_has_a_reader(self) -> None:
        assert READERS.keys() == STYLES.keys()

    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("limit", [7, 100, 500, 999])
    def test_a_walk_meets_every_record_exactly_once(
        self, shop_api: ShopServer, session: requests.Session, style: str, limit: int
    ) -> None:
        found = ids(pages(session, f"{shop_api.url}/orders", style, limit))
        order = "updated_at, id" if style == "keyset_updated" else "id"
        assert found == orders_of(shop_api.store, order=order)

    @pytest.mark.parametrize("style", STYLES)
    def test_filters_go_with_the_walk(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        window = {"updated_from": "2026-01-10T00:00:00Z", "updated_to": "2026-02-10T00:00:00Z"}
        found = ids(pages(session, f"{shop_api.url}/orders", style, 20, **window))
        where = "updated_at >= '2026-01-10' AND updated_at < '2026-02-10'"
        assert sorted(found) == orders_of(shop_api.store, where)

    @pytest.mark.parametrize("style", [s for s in STYLES if not s.startswith("keyset")])
    @pytest.mark.parametrize("sort", ["updated_at", "-updated_at", "-id", "created_at"])
    def test_lists_are_sorted_as_asked_with_the_id_between_equals(
        self, shop_api: ShopServer, session: requests.Session, style: str, sort: str
    ) -> None:
        way = " DESC" if sort.startswith("-") else ""
        order = f"{sort.removeprefix('-')}{way}, id{way}"
        found = ids(pages(session, f"{shop_api.url}/orders", style, 90, sort=sort))
        assert found == orders_of(shop_api.store, order=order)

    @pytest.mark.parametrize("path", ["customers", "products"])
    @pytest.mark.parametrize("style", STYLES)
    def test_customers_and_products_are_lists_like_orders(
        self, shop_api: ShopServer, session: requests.Session, path: str, style: str
    ) -> None:
        found = ids(pages(session, f"{shop_api.url}/{path}", style, 11))
        assert sorted(found) == [
            row[0] for row in shop_api.store.rows(f"SELECT id FROM {path} ORDER BY id")
        ]

    @pytest.mark.parametrize("style", [s for s in STYLES if s != "keyset_updated"])
    def test_the_lines_of_an_order_are_the_ones_within_it(
        self, shop_api: ShopServer, session: requests.Session, style: str
    ) -> None:
        (number,) = shop_api.store.connection.execute(
            "SELECT id FROM orders WHERE json_array_length(body, '$.lines') = 4"
        ).fetchone()
        order = session.get(f"{shop_api.url}/orders/{number}").json()
        if style == "keyset":
            answer = session.get(
                f"{shop_api.url}/orders/{number}/lines?style=keyset&after_id=2"
            ).json()
            assert answer["data"] == order["lines"][2:]
            return
        lines = [
            line
            for page in pages(session, f"{shop_api.url}/orders/{number}/lines", style, 3)
            for line in page
        ]
        assert lines == order["lines"]

    def test_too_large_a_page_is_cut_in_silence(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        shop_api.control.set({"pages": {"max_size": 30}})
        answer = session.get(f"{shop_api.url}/orders?style=offset&limit=1000").json()
        assert len(answer["data"]) == 30 and answer["limit"] == 30

    def test_a_search_by_post_takes_the_parameters_in_its_body(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        asked = {"style": "page", "limit": 5, "page": 2}
        answer = session.post(f"{shop_api.url}/orders/search", json=asked).json()
        assert [record["id"] for record in answer["data"]] == [6, 7, 8, 9, 10]


class TestFilters:
    def test_windows_that_touch_share_no_record_and_leave_none_out(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        start, found = datetime(2026, 1, 1, tzinfo=UTC), []
        for day in range(90):
            since, until = (start + timedelta(days=day + n) for n in (0, 1))
            window = {"created_from": since.isoformat(), "created_to": until.isoformat()}
            found += ids(pages(session, f"{shop_api.url}/orders", "cursor", 100, **window))
        assert found == orders_of(shop_api.store)

    def test_some_records_lie_on_the_very_edge_of_a_window(self, shop_api: ShopServer) -> None:
        assert orders_of(shop_api.store, "created_at LIKE '%T00:00:00.000000Z'")

    def test_ids_select_records(self, shop_api: ShopServer, session: requests.Session) -> None:
        answer = session.get(f"{shop_api.url}/orders?ids=3,99,7,123456").json()
        assert [record["id"] for record in answer["data"]] == [3, 7, 99]

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("2026-03-08T02:30:00-05:00", "2026-03-08T07:30:00.000000Z"),
            ("2026-03-08", "2026-03-08T00:00:00.000000Z"),
            ("1772953200", "2026-03-08T07:00:00.000000Z"),
            ("1772953200123", "2026-03-08T07:00:00.123000Z"),
        ],
    )
    def test_times_are_read_in_many_forms(self, text: str, meant: str) -> None:
        assert canonical(text) == meant

    @pytest.mark.parametrize(
        "query",
        [
            "updated_form=2026-01-01",
            "updated_from=yesterday",
            "updated_from=2026-01-01T00:00:00",
            "ids=1,x",
            "limit=0",
            "page=0&style=page",
            "style=scroll",
            "sort=total",
            "cursor=made-up",
        ],
    )
    def test_what_cannot_be_meant_is_refused_with_a_problem(
        self, shop_api: ShopServer, session: requests.Session, query: str
    ) -> None:
        response = session.get(f"{shop_api.url}/orders?{query}")
        assert response.status_code == 400
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["detail"]

    def test_a_cursor_belongs_to_its_filters(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        cursor = session.get(f"{shop_api.url}/orders?limit=5").json()["meta"]["next_cursor"]
        response = session.get(
            f"{shop_api.url}/orders", params={"cursor": cursor, "status": "paid"}
        )
        assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")

    def test_what_is_not_there_is_not_found(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        for path in ("orders/0", "orders/x", "orders/99999999/lines", "customers/0"):
            assert session.get(f"{shop_api.url}/{path}").status_code == 404


class TestData:
    def all_orders(self, shop_api: ShopServer) -> list[dict[str, Any]]:
        texts = shop_api.store.rows("SELECT body FROM orders ORDER BY id")
        return [json.loads(text, parse_float=Decimal) for (text,) in texts]

    def test_the_same_seed_makes_the_same_data(self) -> None:
        dumps = []
        for seed in (1, 1, 2):
            with Store() as store:
                fill(store, Size(orders=50, seed=seed))
                dumps.append([store.rows(f"SELECT * FROM {t}") for t in ("orders", "customers")])
        assert dumps[0] == dumps[1] != dumps[2]

    def test_bodies_agree_with_the_columns_that_filters_use(self, shop_api: ShopServer) -> None:
        members = ("id", "created_at", "updated_at", "customer_id", "status")
        rows = shop_api.store.rows(f"SELECT {', '.join(members)} FROM orders ORDER BY id")
        assert rows == [tuple(order[m] for m in members) for order in self.all_orders(shop_api)]

    def test_totals_are_decimal_strings_that_the_lines_add_up_to(
        self, shop_api: ShopServer
    ) -> None:
        for order in self.all_orders(shop_api):
            assert Decimal(order["total"]) == sum(Decimal(n["amount"]) for n in order["lines"])

    def test_it_is_awkward(self, shop_api: ShopServer) -> None:
        orders = self.all_orders(shop_api)
        assert all(float(order["fiscal_id"]) != order["fiscal_id"] for order in orders)
        assert all(str(order["tax_rate"]) == "8.250" for order in orders)
        assert {"coupon", "gift_message"} & set().union(*orders)
        assert not all("coupon" in order for order in orders)
        assert any(order["shipping_address"] is None for order in orders)
        assert any(order["note"] == "" for order in orders)
        assert any("🎁" in (order["note"] or "") for order in orders)
        updated = [order["updated_at"] for order in orders]
        assert len(set(updated)) < len(updated)

    def test_a_change_of_one_member_leaves_all_others_to_the_byte(
        self, changing_shop: ShopServer
    ) -> None:
        store = changing_shop.store
        before = store.value("SELECT body FROM orders WHERE id = 9")
        store.change_order(9, "note", '"a\\u0000b"', at="2026-04-01T00:00:00.000000Z")
        after = store.value("SELECT body FROM orders WHERE id = 9")
        assert '"tax_rate":8.250' in after and '"note":"a\\u0000b"' in after
        was, now = json.loads(before), json.loads(after)
        changed = {m for m in was if was[m] != now[m]}
        assert changed == {"note", "updated_at"}


class TestLegacyData:
    CUSTOMER = {
        "HSHD_NO": 7,
        "Cust_Name": "O'BRIEN ,  ANNA          ",
        "EMAIL_ADDR": " ANNA@Example.ORG ",
        "PHONE_NO": None,
        "ADDR_TXT": "12 High St\nSpringfield",
        "POST_CD": "00501     ",
        "MAIL_FLG": "Y",
        "CRT_TS": "2016-07-01 08:00:00",
        "UPD_TS": "2017-01-01 00:00:00+00",
    }
    PRODUCT = {
        "PROD_ID": 1000123,
        "DEPT_NM": "GROCERY",
        "TYPE_NM": float("nan"),
        "CATG_NM": "TEA",
        "LIST_PRC": "1.299,00",
        "ATTR_JS": '{"lot": 5}',
    }

    def filled(self, store: Store) -> Store:
        headers = [
            {
                "BASKET_ID": number,
                "HSHD_NO": 7,
                "STORE_CD": "S00330  ",
                "TXN_TS": datetime(2017, 1, 1, 9, 30),
                "REG_TS": "2017-01-01 14:31:05+00",
                "PAY_CD": "CA",
            }
            for number in (20, 30)
        ]
        lines = [
            {"BASKET_ID": b, "LINE_NO": n, "PROD_ID": 1000123, "QTY": 1, "SALES_CENTS": cents}
            for b, n, cents in [(10, 1, 99), (20, 1, 150), (20, 2, -25), (40, 1, 99)]
        ]
        return fill_from_legacy(
            store, customers=[self.CUSTOMER], products=[self.PRODUCT], headers=headers, lines=lines
        )

    def test_the_shop_tells_of_the_same_customers_and_baskets(self) -> None:
        with Store() as store, ShopServer(self.filled(store)) as server:
            get = requests.get
            first, second = get(f"{server.url}/orders").json()["data"]
            customer = get(f"{server.url}/customers/7").json()
            product = get(f"{server.url}/products/1000123").json()
            lines = get(f"{server.url}/orders/20/lines").json()["data"]
        assert (first["id"], first["total"], len(first["lines"])) == (20, "1.25", 2)
        assert (second["id"], second["total"], second["lines"]) == (30, "0.00", [])
        assert lines[1]["amount"] == "-0.25"
        assert first["created_at"] == "2017-01-01T14:30:00.000000Z"
        assert first["updated_at"] == "2017-01-01T14:31:05.000000Z"
        assert (first["store"], first["payment"]) == ("S00330", "cash")
        assert (customer["name"], customer["email"]) == ("Anna O'Brien", "anna@example.org")
        assert customer["created_at"] == "2016-07-01T12:00:00.000000Z"
        assert (product["name"], product["price"]) == ("GROCERY", "1299.00")


class TestTransport:
    def test_answers_are_compressed_when_that_is_accepted(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        url = f"{shop_api.url}/orders?limit=50"
        packed, plain = (
            session.get(url, headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity")
        )
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert packed.content == plain.content
        assert int(packed.headers["Content-Length"]) < len(plain.content) / 3

    def test_one_connection_serves_many_requests(self, shop_api: ShopServer) -> None:
        ports = set()
        with (
            ShopServer(
                shop_api.store, verify=lambda request: ports.add(request.client.port)
            ) as server,
            requests.Session() as session,
        ):
            for number in range(1, 20):
                assert session.get(f"{server.url}/orders/{number}").json()["id"] == number
        assert len(ports) == 1

    def test_it_runs_as_a_process_of_its_own(self) -> None:
        with ShopProcess(Size(orders=30)) as shop_api, requests.Session() as session:
            assert ids(pages(session, f"{shop_api.url}/orders", "link", 7)) == list(range(1, 31))
            assert orders_of(shop_api.store) == list(range(1, 31))
            path = shop_api.store.path
        assert not path.exists()
