"""The marketing API takes contacts once each, says which it refuses, and logs every write that arrives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from demo.shop.api import STYLES, ShopServer, Writing
from demo.shop.api.write_log import entries, times_applied
from tests.kit_shop_reader import pages


def contact(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"external_id": f"c-{number}", "email": f"c{number}@example.com", **more}


class Marketing:
    """A client of the contacts, with the key and headers spelt out."""

    def __init__(self, shop_api: ShopServer, session: requests.Session) -> None:
        self.url, self.session = f"{shop_api.url}/contacts", session

    def send(
        self, method: str, path: str = "", body: Any = None, key: str | None = None
    ) -> requests.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return self.session.request(method, self.url + path, json=body, headers=headers, timeout=30)

    def post(self, body: Any, key: str | None = None) -> requests.Response:
        return self.send("POST", "", body, key)

    def bulk(self, records: list[Any], key: str | None = None) -> requests.Response:
        return self.send("POST", "/bulk", {"contacts": records}, key)


@pytest.fixture
def marketing(shop_api: ShopServer) -> Iterator[Marketing]:
    with requests.Session() as session:
        yield Marketing(shop_api, session)


class TestOneContact:
    def test_it_is_created_replaced_patched_read_and_deleted(self, marketing: Marketing) -> None:
        created = marketing.post(contact(full_name="Zoë", country="PL"))
        assert created.status_code == 201 and created.json()["id"] > 0
        assert (
            marketing.send("PUT", "/c-1", contact(full_name="Zoe", tags=["a"])).status_code == 200
        )
        patched = marketing.send("PATCH", "/c-1", {"full_name": None, "country": "DE"})
        assert patched.status_code == 200
        read = marketing.send("GET", "/c-1").json()
        assert read == patched.json()
        assert (read["country"], read["tags"], "full_name" in read) == ("DE", ["a"], False)
        assert read["id"] == created.json()["id"]
        assert marketing.send("DELETE", "/c-1").status_code == 204
        assert marketing.send("GET", "/c-1").status_code == 404

    def test_a_put_creates_what_is_not_there(self, marketing: Marketing) -> None:
        assert marketing.send("PUT", "/c-1", contact()).status_code == 201

    def test_numbers_and_escapes_come_back_as_they_were_sent(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        sent = (
            '{"external_id":"c-1","email":"a@example.com","score":1.10,"big":9007199254740993,'
            '"mood":"\\ud83d\\ude9a"}'
        )
        marketing.session.post(marketing.url, data=sent.encode())
        marketing.session.patch(f"{marketing.url}/c-1", data=b'{"score":2.50}')
        text = marketing.send("GET", "/c-1").text
        assert '"score":2.50,"big":9007199254740993,"mood":"\\ud83d\\ude9a"' in text

    def test_an_external_id_may_hold_any_printable_character(self, marketing: Marketing) -> None:
        marketing.post(contact() | {"external_id": "Köln/7 %?"})
        assert marketing.send("GET", "/K%C3%B6ln%2F7%20%25%3F").status_code == 200

    @pytest.mark.parametrize(
        ("record", "status", "code"),
        [
            ({"email": "a@example.com"}, 422, "invalid_external_id"),
            (contact(email="nobody"), 422, "invalid_email"),
            (contact(email=None), 422, "invalid_email"),
            (contact(email="a@blocked.example"), 422, "email_blocked"),
            (contact(country="Germany"), 422, "invalid_country"),
            (contact(lifetime_value=12.5), 422, "invalid_lifetime_value"),
            (contact(marketing_consent="yes"), 422, "invalid_consent"),
            ([1], 400, "bad_json"),
        ],
    )
    def test_a_wrong_one_is_refused_with_a_code(
        self, shop_api: ShopServer, marketing: Marketing, record: Any, status: int, code: str
    ) -> None:
        response = marketing.post(record)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert shop_api.store.value("SELECT count(*) FROM contacts") == 0
        assert [entry.outcome for entry in entries(shop_api.store)] == ["refused"]

    def test_what_does_not_fit_the_present_state_is_refused(self, marketing: Marketing) -> None:
        marketing.post(contact())
        assert marketing.post(contact()).status_code == 409
        assert marketing.send("PATCH", "/c-2", {"country": "DE"}).status_code == 404
        assert marketing.send("DELETE", "/c-2").status_code == 404
        assert marketing.send("PUT", "/c-2", contact(1)).json()["code"] == "id_mismatch"

    def test_nan_is_no_json(self, marketing: Marketing) -> None:
        sent = b'{"external_id":"c-1","email":"a@example.com","score":NaN}'
        assert marketing.session.post(marketing.url, data=sent).status_code == 400


class TestBulk:
    def test_each_record_is_taken_or_refused_for_itself(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        marketing.post(contact(4))
        records = [
            contact(1, score=1.10),
            contact(2, email="wrong"),
            contact(3, operation="update"),
            contact(4, operation="delete"),
            7,
        ]
        response = marketing.bulk(records)
        assert response.status_code == 207
        results = response.json()["results"]
        assert [result["status"] for result in results] == [201, 422, 404, 204, 422]
        assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
        assert [result.get("error", {}).get("code") for result in results] == [
            None,
            "invalid_email",
            "not_found",
            None,
            "bad_json",
        ]
        assert shop_api.store.rows("SELECT external_id FROM contacts") == [("c-1",)]
        assert "operation" not in json.loads(shop_api.store.value("SELECT body FROM contacts"))

    def test_all_taken_is_a_plain_200(self, marketing: Marketing) -> None:
        assert marketing.bulk([contact(n) for n in range(100)]).status_code == 200

    def test_more_than_the_most_is_refused_whole(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        assert marketing.bulk([contact(n) for n in range(101)]).status_code == 413
        assert shop_api.store.value("SELECT count(*) FROM contacts") == 0

    def test_status_and_order_of_the_results_can_be_other_ones(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        shop_api.control.set({"writing": Writing(bulk_status=200, bulk_shuffled=True)})
        response = marketing.bulk([contact(n) for n in range(20)] + [contact(20, email="wrong")])
        assert response.status_code == 200
        results = response.json()["results"]
        assert [r["index"] for r in results] != sorted(r["index"] for r in results)
        assert all(r["external_id"] == f"c-{r['index']}" for r in results)


class TestIdempotencyKeys:
    def test_the_same_request_again_gets_the_first_answer_and_does_nothing(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        first, again = (marketing.post(contact(), key="k-1") for _ in range(2))
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        assert [entry.outcome for entry in entries(shop_api.store)] == ["applied", "replayed"]
        assert times_applied(shop_api.store) == {"c-1": 1}

    def test_a_bulk_request_is_replayed_whole(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        records = [contact(1), contact(2, email="wrong")]
        first, again = (marketing.bulk(records, key="k-1") for _ in range(2))
        assert first.content == again.content and again.status_code == 207
        assert times_applied(shop_api.store) == {"c-1": 1}

    def test_a_refusal_is_kept_as_well(self, marketing: Marketing) -> None:
        first, again = (marketing.post(contact(email="wrong"), key="k-1") for _ in range(2))
        assert first.status_code == again.status_code == 422
        assert again.headers["Idempotency-Replayed"] == "true"

    def test_a_key_that_comes_with_another_request_is_refused(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        marketing.post(contact(1), key="k-1")
        other = [
            marketing.post(contact(2), key="k-1"),
            marketing.send("PUT", "/c-1", contact(1), key="k-1"),
        ]
        assert [r.json()["code"] for r in other] == ["idempotency_key_reused"] * 2
        assert [r.status_code for r in other] == [422] * 2
        assert marketing.post(contact(1), key="k-1").status_code == 201
        assert times_applied(shop_api.store) == {"c-1": 1}

    def test_a_key_can_be_demanded(self, shop_api: ShopServer, marketing: Marketing) -> None:
        shop_api.control.set({"writing": {"key_required": True}})
        assert marketing.post(contact()).json()["code"] == "idempotency_key_missing"
        assert marketing.post(contact(), key="k-1").status_code == 201

    def test_without_a_key_a_request_is_done_again(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        for _ in range(2):
            marketing.send("PUT", "/c-1", contact())
        assert times_applied(shop_api.store) == {"c-1": 2}


class TestTheLog:
    def test_it_holds_what_arrived_and_what_became_of_it(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        marketing.session.post(marketing.url, data=b'{"external_id":"c-1"}')
        marketing.send("DELETE", "/c-1", key="k-2")
        refused, deleted = entries(shop_api.store)
        digest = hashlib.sha256(b'{"external_id":"c-1"}').hexdigest()
        assert (refused.method, refused.path, refused.key) == ("POST", "/contacts", None)
        assert (refused.digest, refused.status, refused.delivered) == (digest, 422, True)
        assert (deleted.path, deleted.key, deleted.status) == ("/contacts/c-1", "k-2", 404)

    @pytest.mark.parametrize("kind", ["server_error", "drop_before", "html_error", "unavailable"])
    def test_a_failure_before_the_work_is_logged_as_such(
        self, shop_api: ShopServer, marketing: Marketing, kind: str
    ) -> None:
        shop_api.control.fail_next(kind)
        failed_or_dropped(marketing, "k-1")
        assert marketing.post(contact(), key="k-1").status_code == 201
        before, then = entries(shop_api.store)
        assert (before.outcome, before.delivered, before.key) == ("failed_before", False, "k-1")
        assert then.outcome == "applied"
        assert times_applied(shop_api.store) == {"c-1": 1}

    @pytest.mark.parametrize("kind", ["error_after", "drop_after", "half_body", "wrong_json"])
    def test_a_failure_after_the_work_is_logged_as_such_and_a_repeat_is_replayed(
        self, shop_api: ShopServer, marketing: Marketing, kind: str
    ) -> None:
        shop_api.control.fail_next(kind)
        failed_or_dropped(marketing, "k-1")
        again = marketing.post(contact(), key="k-1")
        assert again.status_code == 201 and again.json()["external_id"] == "c-1"
        after, then = entries(shop_api.store)
        assert (after.outcome, after.delivered) == ("failed_after", False)
        assert (then.outcome, then.delivered) == ("replayed", True)
        assert times_applied(shop_api.store) == {"c-1": 1}

    @pytest.mark.parametrize("kind", ["half_body", "wrong_json"])
    def test_an_answer_without_a_body_is_spoilt_by_dropping_it(
        self, shop_api: ShopServer, marketing: Marketing, kind: str
    ) -> None:
        marketing.post(contact())
        shop_api.control.fail_next(kind)
        with pytest.raises(requests.ConnectionError):
            marketing.send("DELETE", "/c-1", key="k-1")
        assert marketing.send("DELETE", "/c-1", key="k-1").status_code == 204
        assert [e.outcome for e in entries(shop_api.store)] == [
            "applied",
            "failed_after",
            "replayed",
        ]

    def test_requests_turned_away_by_the_limit_are_logged_as_refused(
        self, shop_api: ShopServer, marketing: Marketing
    ) -> None:
        shop_api.control.set({"limit": {"per_second": 0.001, "burst": 1}})
        assert marketing.post(contact(1)).status_code == 201
        assert marketing.post(contact(2)).status_code == 429
        assert [(e.outcome, e.status) for e in entries(shop_api.store)] == [
            ("applied", 201),
            ("refused", 429),
        ]


def failed_or_dropped(marketing: Marketing, key: str) -> None:
    """Send a contact that meets a fault, in whichever way it shows."""
    try:
        response = marketing.post(contact(), key=key)
    except requests.RequestException:
        return
    with pytest.raises((requests.HTTPError, ValueError)):
        response.raise_for_status()
        response.json()


class TestReadingBack:
    @pytest.mark.parametrize("style", STYLES)
    def test_contacts_are_a_list_like_the_shop_s(
        self, shop_api: ShopServer, marketing: Marketing, style: str
    ) -> None:
        marketing.bulk([contact(n) for n in range(30)])
        found = [c for page in pages(marketing.session, marketing.url, style, 7) for c in page]
        assert [c["external_id"] for c in found] == [f"c-{n}" for n in range(30)]

    def test_one_is_found_by_its_external_id(self, marketing: Marketing) -> None:
        marketing.bulk([contact(n) for n in range(3)])
        answer = marketing.send("GET", "?external_id=c-1").json()
        assert [c["external_id"] for c in answer["data"]] == ["c-1"]
