"""Deliver: rows reach an API, each gets a receipt as soon as it is known, and none is sent twice in the dark."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from demo.shop.api.control import Control
from demo.shop.api.server import ShopServer
from demo.shop.api.write_log import entries, times_applied
from sinew.api.delivering import deliver, parcels_of
from sinew.api.outgoing import OutRow, Receipt, idempotency_key
from sinew.api.read_back import read_back, same
from sinew.errors import (
    ApiAccessError,
    ApiRefusedError,
    ConfigurationError,
    InterruptedStepError,
    UnavailableError,
)
from sinew.spec.delivery import ChangeKind, Delivery
from tests.kit_api import QUICK, ApiSession, Asked, Reply, serving

CONTACT = {"external_id": "{external_id}", "email": "{email}", "lifetime_value": "{worth}"}
SINGLE: dict[str, Any] = {
    "create": {"method": "POST", "path": "/contacts", "body": CONTACT},
    "update": {"method": "PUT", "path": "/contacts/{external_id}", "body": CONTACT},
    "delete": {"method": "DELETE", "path": "/contacts/{external_id}"},
    "idempotency_header": "Idempotency-Key",
    "remote_id": "$.id",
    "decimals": "text",
    "retry": QUICK,
    "read_back": {
        "path": "/contacts/{external_id}",
        "compare": {"email": "$.email", "worth": "$.lifetime_value"},
    },
}
BULK = SINGLE | {
    "create": {"method": "POST", "path": "/contacts/bulk", "body": CONTACT},
    "update": {
        "method": "POST",
        "path": "/contacts/bulk",
        "body": {"operation": "update", **CONTACT},
    },
    "bulk": {
        "size": 20,
        "envelope": {"contacts": "{rows}"},
        "results": "$.results[*]",
        "status": "$.status",
        "error": "$.error",
    },
}
BY_ID = {"match_by": "id", "id": "$.external_id", "id_column": "external_id"}


def row(
    number: int, change: ChangeKind = "create", version: int = 1, email: str | None = None
) -> OutRow:
    values = {
        "external_id": f"C{number}",
        "email": email or f"c{number}@example.com",
        "worth": Decimal("12.50"),
    }
    key = idempotency_key("to_marketing", "contacts", number, version)
    return OutRow(number, version, change, values, key)


def rows(count: int, change: ChangeKind = "create", version: int = 1) -> list[OutRow]:
    return [row(number, change, version) for number in range(1, count + 1)]


@pytest.fixture(scope="module")
def shop_api() -> Iterator[ShopServer]:
    with ShopServer() as server:
        yield server


@pytest.fixture
def control(shop_api: ShopServer) -> Iterator[Control]:
    shop_api.control.reset()
    with shop_api.store.writing() as connection:
        for table in ("contact_change", "request_log", "answer", "contacts"):
            connection.execute(f"DELETE FROM {table}")
    yield shop_api.control
    shop_api.control.reset()


@pytest.fixture
def session(shop_api: ShopServer, control: Control) -> Iterator[ApiSession]:
    with ApiSession(shop_api.url) as opened:
        yield opened


def delivery(declared: dict[str, Any] | None = None, **more: Any) -> Delivery:
    return Delivery.model_validate((declared or SINGLE) | more)


def contacts(shop_api: ShopServer) -> dict[str, Any]:
    found = shop_api.store.rows("SELECT external_id, body FROM contacts")
    return {external_id: json.loads(body) for external_id, body in found}


def by_key(receipts: Sequence[Receipt]) -> dict[Any, Receipt]:
    assert len({receipt.key for receipt in receipts}) == len(receipts)
    return {receipt.key: receipt for receipt in receipts}


class TestOneByOne:
    def test_rows_are_created_changed_and_deleted(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        made = by_key(list(deliver(session, delivery(), rows(30))))
        stored = contacts(shop_api)
        assert {receipt.status for receipt in made.values()} == {"accepted"}
        assert {key: receipt.remote_id for key, receipt in made.items()} == {
            number: str(stored[f"C{number}"]["id"]) for number in range(1, 31)
        }
        assert {receipt.http_status for receipt in made.values()} == {201}
        assert stored["C7"]["lifetime_value"] == "12.50"

        changed = [row(number, "update", 2, f"new{number}@example.com") for number in range(1, 11)]
        gone = [row(number, "delete", 2) for number in range(21, 31)]
        receipts = list(deliver(session, delivery(), changed + gone))
        assert {receipt.status for receipt in receipts} == {"accepted"}
        emails = {name: contact["email"] for name, contact in contacts(shop_api).items()}
        assert emails == {f"C{i}": f"new{i}@example.com" for i in range(1, 11)} | {
            f"C{i}": f"c{i}@example.com" for i in range(11, 21)
        }

    def test_a_row_that_is_gone_already_counts_as_deleted(self, session: ApiSession) -> None:
        (receipt,) = deliver(session, delivery(), [row(1, "delete")])
        assert (receipt.status, receipt.http_status) == ("accepted", 404)

    def test_unless_the_mapping_says_otherwise(self, session: ApiSession) -> None:
        strict = delivery(delete={**SINGLE["delete"], "done": []})
        (receipt,) = deliver(session, strict, [row(1, "delete")])
        assert (receipt.status, receipt.http_status) == ("refused", 404)

    def test_a_refused_row_says_why_without_its_values(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        sent = [row(1), row(2, email="secret@blocked.example"), row(3)]
        receipts = by_key(list(deliver(session, delivery(), sent)))
        assert [receipts[i].status for i in (1, 2, 3)] == ["accepted", "refused", "accepted"]
        refused = receipts[2]
        assert (refused.http_status, refused.code) == (422, "email_blocked")
        assert refused.error is not None and "suppression list" in refused.error
        assert "secret" not in repr(refused) and set(contacts(shop_api)) == {"C1", "C3"}

    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("No such town: Springfield", "No such town: ‹town›"),
            ("springfield is taken", "‹town› is taken"),
            ("value 4711007 and ann@example.com", "value ‹number› and ‹address›"),
        ],
    )
    def test_what_an_api_quotes_of_a_row_is_replaced_by_the_columns_name(
        self, said: str, shown: str
    ) -> None:
        plain = delivery({"create": {"method": "POST", "path": "/x"}, "retry": QUICK})
        values = {"town": "Springfield", "number": 4711007, "flag": True, "nothing": None}
        with serving(lambda asked: Reply({"message": said}, 422)) as (_, session):
            (receipt,) = deliver(session, plain, [OutRow(1, 1, "create", values, "k")])
        assert receipt.error == shown

    @pytest.mark.parametrize(
        ("rule", "status", "email"),
        [
            ("refuse", "refused", "old"),
            ("accept", "accepted", "old"),
            ("update", "accepted", "new"),
        ],
    )
    def test_a_conflict_is_settled_as_the_mapping_says(
        self, rule: str, status: str, email: str, shop_api: ShopServer, session: ApiSession
    ) -> None:
        list(deliver(session, delivery(), [row(1, email="old@example.com")]))
        again = row(1, version=2, email="new@example.com")
        (receipt,) = deliver(session, delivery(conflict=rule), [again])
        assert receipt.status == status
        assert contacts(shop_api)["C1"]["email"] == f"{email}@example.com"

    def test_a_row_that_no_request_can_be_made_of_is_refused_and_the_others_go(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        lost = OutRow(1, 1, "update", {**row(1).values, "external_id": ""}, "k")
        nan = OutRow(2, 1, "create", {**row(2).values, "worth": Decimal("NaN")}, "k2")
        receipts = by_key(list(deliver(session, delivery(), [lost, nan, row(3)])))
        assert [receipts[i].status for i in (1, 2, 3)] == ["refused", "refused", "accepted"]
        assert receipts[1].attempts == receipts[2].attempts == 0
        assert "cannot be addressed" in str(receipts[1].error)
        assert receipts[2].error == "lifetime_value is NaN, which JSON cannot say: mend the row"
        # The path of one record never became that of the collection.
        assert all(entry.path != "/contacts/" for entry in entries(shop_api.store))

    def test_every_type_of_a_row_is_written_as_json_has_it(self) -> None:
        values = {
            "big": 2**70,
            "exact": Decimal("1.10"),
            "day": date(2026, 3, 29),
            "moment": datetime(2026, 3, 29, 1, 2, 3, 4, tzinfo=UTC),
            "id": UUID(int=7),
            "none": None,
            "list": [Decimal("2.50"), {"a": True}],
            "text": 'ü"\n',
        }
        plain = delivery({"create": {"method": "POST", "path": "/x"}, "retry": QUICK})
        with serving(lambda asked: Reply({})) as (server, session):
            list(deliver(session, plain, [OutRow(1, 1, "create", values, "k")]))
        assert server.asked[0].body.decode() == (
            '{"big":1180591620717411303424,"exact":1.10,"day":"2026-03-29",'
            '"moment":"2026-03-29T01:02:03.000004Z","id":"00000000-0000-0000-0000-000000000007",'
            '"none":null,"list":[2.50,{"a":true}],"text":"ü\\"\\n"}'
        )


class TestKeys:
    def test_a_key_depends_on_its_row_and_version_alone(self) -> None:
        one = idempotency_key("p", "e", (1, "a"), 3)
        assert one == idempotency_key("p", "e", (1, "a"), 3)
        assert UUID(one).version == 8 and UUID(one).variant == "specified in RFC 4122"
        others = [("q", "e", (1, "a"), 3), ("p", "f", (1, "a"), 3), ("p", "e", (1, "b"), 3)]
        others += [("p", "e", (1, "a"), 4), ("p", "e", ("1", "a"), 3), ("pe", "", (1, "a"), 3)]
        assert len({one, *(idempotency_key(*other) for other in others)}) == 7

    def test_rows_are_applied_once_through_faults(
        self, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        kinds = (
            "server_error",
            "drop_before",
            "drop_after",
            "error_after",
            "half_body",
            "wrong_json",
        )
        control.set({"faults": dict.fromkeys(kinds, 0.05) | {"in_a_row": 2}})
        receipts = by_key(list(deliver(session, delivery(), rows(150))))
        assert {receipt.status for receipt in receipts.values()} == {"accepted"}
        assert len(contacts(shop_api)) == 150 and control.counters.faults["drop_after"]
        applied = times_applied(shop_api.store)
        assert set(applied.values()) == {1} and len(applied) == 150
        keys: dict[str, set[str | None]] = {}
        for entry in entries(shop_api.store):
            keys.setdefault(entry.digest, set()).add(entry.key)
        # Whatever was sent again carried the key that it had.
        assert all(len(found) == 1 for found in keys.values())

    @pytest.mark.parametrize("fault", ["drop_before", "drop_after", "half_body", "error_after"])
    def test_without_a_key_a_post_whose_outcome_is_unknown_is_not_sent_again(
        self, fault: str, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        unkeyed = delivery(idempotency_header=None, limits={"concurrency": 1})
        control.fail_next(fault, skip=2)
        receipts = list(deliver(session, unkeyed, rows(5)))
        assert [receipt.status for receipt in receipts] == [
            "accepted", "accepted", "unknown", "accepted", "accepted",
        ]  # fmt: skip
        assert len(entries(shop_api.store)) == 5 and receipts[2].attempts == 1
        # The caller looks before it sends again.
        (compared,) = read_back(session, unkeyed, [row(3)])
        assert compared.agrees is (fault != "drop_before")

    def test_a_put_is_sent_again_without_a_key(self, session: ApiSession, control: Control) -> None:
        control.fail_next("drop_after")
        (receipt,) = deliver(session, delivery(idempotency_header=None), [row(1, "update")])
        assert (receipt.status, receipt.attempts) == ("accepted", 2)

    def test_a_conflict_after_a_repeat_may_be_with_itself(self) -> None:
        replies = [Reply(drop=True), Reply({"error": "exists"}, 409)]
        with serving(lambda asked: replies.pop(0)) as (_, session):
            (receipt,) = deliver(session, delivery(), [row(1)])
        assert (receipt.status, receipt.http_status) == ("unknown", 409)


class TestBulk:
    @pytest.mark.parametrize("more", [{}, BY_ID])
    @pytest.mark.parametrize("status", [200, 207])
    def test_a_refused_record_is_one_refusal_and_the_others_are_taken(
        self,
        more: dict[str, Any],
        status: int,
        shop_api: ShopServer,
        session: ApiSession,
        control: Control,
    ) -> None:
        control.set({"writing": {"bulk_status": status, "bulk_shuffled": bool(more)}})
        sent = rows(90)
        sent[33] = row(34, email="x@blocked.example")
        sent[70] = row(71, email="nonsense")
        in_bulk = delivery(BULK, bulk=BULK["bulk"] | more)
        receipts = by_key(list(deliver(session, in_bulk, sent)))
        refused = {key: one.code for key, one in receipts.items() if one.status != "accepted"}
        assert refused == {34: "email_blocked", 71: "invalid_email"}
        assert len(contacts(shop_api)) == 88 and len(entries(shop_api.store)) == 5
        ids = {key: one.remote_id for key, one in receipts.items() if one.status == "accepted"}
        assert ids == {i: str(contacts(shop_api)[f"C{i}"]["id"]) for i in ids}

    def test_rows_are_applied_once_through_faults(
        self, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        kinds = ("server_error", "drop_after", "half_body", "wrong_json")
        control.set({"faults": dict.fromkeys(kinds, 0.15) | {"in_a_row": 2}})
        receipts = by_key(list(deliver(session, delivery(BULK), rows(300))))
        assert {receipt.status for receipt in receipts.values()} == {"accepted"}
        assert set(times_applied(shop_api.store).values()) == {1} and control.counters.faults

    def test_without_a_key_all_rows_of_a_lost_answer_are_unknown(
        self, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        control.fail_next("half_body")
        unkeyed = delivery(BULK, idempotency_header=None, limits={"concurrency": 1})
        receipts = by_key(list(deliver(session, unkeyed, rows(40))))
        assert Counter(one.status for one in receipts.values()) == {"unknown": 20, "accepted": 20}
        assert len(entries(shop_api.store)) == 2

    def test_a_request_too_large_is_halved(
        self, shop_api: ShopServer, session: ApiSession, control: Control
    ) -> None:
        control.set({"writing": {"bulk_size": 6}})
        receipts = by_key(list(deliver(session, delivery(BULK), rows(40))))
        assert {receipt.status for receipt in receipts.values()} == {"accepted"}
        assert len(contacts(shop_api)) == 40

    def test_a_bulk_that_is_refused_as_a_whole_is_halved_until_the_bad_rows_are_alone(self) -> None:
        taken: list[Any] = []

        def answer(asked: Asked) -> Reply:
            if any(one["n"] in (3, 11) for one in asked.json):
                return Reply({"error": "one of them is bad"}, 422)
            taken.extend(one["n"] for one in asked.json)
            return Reply({"results": [{"status": 200} for _ in asked.json]})

        assert answered(answer, 16) == {
            i: "refused" if i in (3, 11) else "accepted" for i in range(16)
        }
        assert sorted(taken) == [i for i in range(16) if i not in (3, 11)]

    def test_a_record_that_the_server_could_not_take_just_now_is_sent_again_alone(self) -> None:
        seen: Counter[int] = Counter()

        def answer(asked: Asked) -> Reply:
            results = []
            for one in asked.json:
                seen[one["n"]] += 1
                busy = one["n"] == 2 and seen[2] < 3
                results.append({"status": 503 if busy else 201})
            return Reply({"results": results})

        assert set(answered(answer, 5).values()) == {"accepted"}
        assert seen == {0: 1, 1: 1, 2: 3, 3: 1, 4: 1}

    @pytest.mark.parametrize(
        ("results", "statuses"),
        [
            ([{"status": 201}] * 2, ["unknown"] * 3),
            ([{"status": 201}] * 4, ["unknown"] * 3),
            (None, ["unknown"] * 3),
            ([{"status": "ok"}, {"status": "fine"}, {"status": True}], ["accepted", "refused", "accepted"]),
            ([{"status": "201"}, {"status": 422}, {}], ["accepted", "refused", "refused"]),
            ([{"status": 409}, {"status": 404}, {"status": 200}], ["refused", "refused", "accepted"]),
        ],
    )  # fmt: skip
    def test_what_the_answer_does_not_surely_say_is_unknown(
        self, results: Any, statuses: list[str]
    ) -> None:
        reply = Reply({"results": results} if results is not None else {"ok": True})
        assert list(answered(lambda asked: reply, 3).values()) == statuses

    @pytest.mark.parametrize("ids", [["0", "1", "1"], ["0", "2", "9"], ["1", "2", None]])
    def test_a_result_that_is_nobodys_or_comes_twice_makes_no_receipt(self, ids: list[Any]) -> None:
        reply = Reply({"results": [{"status": 201, "id": one} for one in ids]})
        by = {"match_by": "id", "id": "$.id", "id_column": "n"}
        found = answered(lambda asked: reply, 3, **by)
        sure = {int(one) for one in ids if one in ("0", "1", "2") and ids.count(one) == 1}
        assert found == {i: "accepted" if i in sure else "unknown" for i in range(3)}

    def test_an_error_alone_may_say_that_a_row_was_refused(self) -> None:
        reply = Reply({"results": [{"error": None}, {"error": {"code": "bad"}}, {}]})
        found = answered(lambda asked: reply, 3, status=None, error="$.error")
        assert list(found.values()) == ["accepted", "refused", "accepted"]

    def test_conflicts_are_sent_as_updates(self, shop_api: ShopServer, session: ApiSession) -> None:
        created = SINGLE["create"] | {
            "path": "/contacts/bulk",
            "body": {"operation": "create", **CONTACT},
        }
        both = delivery(BULK, create=created, conflict="update")
        list(deliver(session, both, rows(5)))
        again = [row(i, version=2, email=f"new{i}@example.com") for i in range(1, 8)]
        receipts = by_key(list(deliver(session, both, again)))
        assert {one.status for one in receipts.values()} == {"accepted"}
        assert {one["email"] for one in contacts(shop_api).values()} == {
            f"new{i}@example.com" for i in range(1, 8)
        }

    def test_kinds_go_apart_and_keys_keep_their_order(self) -> None:
        sent = [row(1), row(2, "update"), row(3), row(1, "update", 2), row(4, "delete"), row(5)]
        out = [
            ([one.key for one in parcel.rows], parcel.rows[0].change, parcel.together)
            for parcel in parcels_of(delivery(BULK), sent)
        ]
        assert out == [
            ([1, 3], "create", True),
            ([2], "update", True),
            ([4], "delete", False),
            ([1], "update", True),
            ([5], "create", True),
        ]


def answered(handler: Callable[[Asked], Reply], count: int, **bulk: Any) -> dict[Any, str]:
    """Statuses of rows that are sent in one bulk to a handler."""
    declared = {
        "create": {"method": "POST", "path": "/x"},
        "idempotency_header": "K",
        "bulk": {"size": 50, "results": "$.results[*]", "status": "$.status", "ok": ["ok"], **bulk},
        "retry": QUICK,
    }
    sent = [OutRow(i, 1, "create", {"n": i}, f"key {i}") for i in range(count)]
    with serving(handler) as (_, session):
        receipts = by_key(list(deliver(session, delivery(declared), sent)))
    return {key: receipts[key].status for key in sorted(receipts)}


class TestReceipts:
    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_no_more_than_so_many_requests_are_out_without_a_receipt_that_was_taken(
        self, concurrency: int, shop_api: ShopServer, session: ApiSession
    ) -> None:
        few = delivery(limits={"concurrency": concurrency})
        taken = 0
        for _ in deliver(session, few, rows(40)):
            # Whatever is under way may arrive meanwhile.
            time.sleep(0.003)
            assert len(entries(shop_api.store)) - taken <= concurrency
            taken += 1
        assert taken == 40

    def test_a_reader_that_goes_away_leaves_at_most_so_many(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        receipts = deliver(session, delivery(limits={"concurrency": 3}), rows(40))
        taken = [next(receipts).key for _ in range(10)]
        receipts.close()  # type: ignore[attr-defined]
        sent = {entry.key for entry in entries(shop_api.store)}
        assert len(sent) - len(taken) <= 3
        # What it does not know of is sent again, with the same keys, and replayed.
        rest = [one for one in rows(40) if one.key not in taken]
        assert {one.status for one in deliver(session, delivery(), rest)} == {"accepted"}
        assert set(times_applied(shop_api.store).values()) == {1} and len(contacts(shop_api)) == 40

    def test_rows_are_drawn_as_they_are_needed(self, session: ApiSession) -> None:
        drawn: list[int] = []

        def source() -> Iterator[OutRow]:
            for one in rows(100):
                drawn.append(1)
                yield one

        receipts = deliver(session, delivery(limits={"concurrency": 2}), source())
        next(receipts)
        assert len(drawn) == 2
        receipts.close()  # type: ignore[attr-defined]

    def test_versions_of_one_row_do_not_overtake_each_other(self) -> None:
        seen: list[tuple[str, int]] = []
        gate = threading.Semaphore(0)

        def answer(asked: Asked) -> Reply:
            body = asked.json
            if body["n"] == 1 and body["v"] == 1:
                gate.acquire(timeout=5)
            else:
                gate.release()
            seen.append((body["n"], body["v"]))
            return Reply({})

        plain = {"create": {"method": "PUT", "path": "/x", "body": {"n": "{n}", "v": "{version}"}}}
        sent = [
            OutRow(n, v, "create", {"n": n}, f"{n} {v}")
            for n, v in [(1, 1), (2, 1), (1, 2), (1, 3)]
        ]
        with serving(answer) as (_, session):
            list(deliver(session, delivery(plain | {"retry": QUICK}), sent))
        assert [v for n, v in seen if n == 1] == [1, 2, 3]

    def test_an_error_that_is_not_the_rows_ends_it_after_the_receipts_of_what_is_out(self) -> None:
        def answer(asked: Asked) -> Reply:
            return Reply({}, 403 if asked.json["n"] == 5 else 200)

        plain = {
            "create": {"method": "POST", "path": "/x"},
            "retry": QUICK,
            "limits": {"concurrency": 4},
        }
        sent = [OutRow(n, 1, "create", {"n": n}, str(n)) for n in range(30)]
        receipts = []
        with serving(answer) as (server, session):
            with pytest.raises(ApiAccessError, match="POST /x answers 403"):
                for receipt in deliver(session, delivery(plain), sent):
                    receipts.append(receipt)
        done = {asked.json["n"] for asked in server.asked} - {5}
        assert {receipt.key for receipt in receipts} == done and len(server.asked) <= 5 + 2 * 4

    def test_an_error_of_the_source_does_too(self) -> None:
        def source() -> Iterator[OutRow]:
            yield from [OutRow(n, 1, "create", {"n": n}, str(n)) for n in range(3)]
            raise ValueError("the cursor broke")

        plain = {"create": {"method": "POST", "path": "/x"}, "retry": QUICK}
        receipts = []
        with serving(lambda asked: Reply({})) as (_, session):
            with pytest.raises(ValueError, match="the cursor broke"):
                for receipt in deliver(session, delivery(plain), source()):
                    receipts.append(receipt.key)
        assert sorted(receipts) == [0, 1, 2]

    def test_a_server_that_is_down_ends_it_without_a_receipt(self) -> None:
        plain = {"create": {"method": "POST", "path": "/x"}, "retry": QUICK}
        with serving(lambda asked: Reply({})) as (server, session):
            pass
        with pytest.raises(UnavailableError, match="cannot be reached"):
            list(deliver(ApiSession(server.url), delivery(plain), [row(1)]))

    def test_a_wrong_path_ends_it_and_refuses_no_row(self, session: ApiSession) -> None:
        wrong = delivery(create={"method": "POST", "path": "/contact", "body": CONTACT})
        with pytest.raises(ApiRefusedError, match="POST /contact answers 404"):
            list(deliver(session, wrong, rows(5)))

    def test_a_change_that_is_not_declared_ends_it(self, session: ApiSession) -> None:
        with pytest.raises(
            ConfigurationError, match="sent as 'delete', which the delivery does not"
        ):
            list(deliver(session, delivery(delete=None), [row(1, "delete")]))

    def test_it_stops_when_asked_to_and_hands_over_what_is_known(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        receipts: list[Receipt] = []
        with pytest.raises(InterruptedStepError):
            for receipt in deliver(
                session, delivery(), rows(100), stop_requested=lambda: len(receipts) >= 7
            ):
                receipts.append(receipt)
        sent = {entry.key for entry in entries(shop_api.store)}
        assert len(receipts) == len(sent) < 20


class TestReadBack:
    def test_what_differs_is_named_and_not_shown(
        self, shop_api: ShopServer, session: ApiSession
    ) -> None:
        list(deliver(session, delivery(), rows(10)))
        wanted = [
            row(1),
            row(2, email="other@example.com"),
            row(11),
            row(3, "delete"),
            row(12, "delete"),
        ]
        compared = list(read_back(session, delivery(), wanted))
        assert [(one.key, one.found, one.agrees, one.differing) for one in compared] == [
            (1, True, True, ()),
            (2, True, False, ("email",)),
            (11, False, False, ()),
            (3, True, False, ()),
            (12, False, True, ()),
        ]

    @pytest.mark.parametrize(
        ("ours", "theirs", "agree"),
        [
            (Decimal("12.50"), Decimal("12.5"), True),
            (Decimal("12.50"), "12.50", True),
            ("12.50", Decimal("12.5"), True),
            (1, True, False),
            (None, None, True),
            ("", None, False),
            (2**53 + 1, Decimal(2**53), False),
            (datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01T13:00:00+01:00", True),
            (date(2026, 1, 1), "2026-01-01", True),
            ("a", "b", False),
            ([1, {"a": Decimal("1.0")}], [1, {"a": 1}], True),
            ([1], [1, 2], False),
            ("nan", "nan", True),
            ("x", 1, False),
        ],
    )
    def test_values_are_compared_by_what_they_mean(
        self, ours: Any, theirs: Any, agree: bool
    ) -> None:
        assert same(ours, theirs) is agree


class TestModels:
    @pytest.mark.parametrize(
        ("declared", "said"),
        [
            ({"create": None, "update": None, "delete": None}, "nothing is sent"),
            ({"conflict": "update", "update": None}, "`conflict: update` needs `update`"),
            ({"bulk": {"results": "$.r"}}, "nothing says which rows were taken"),
            ({"bulk": {"results": "$.r", "status": "$.s", "envelope": {"a": 1}}}, "exactly once"),
            ({"bulk": {"results": "$.r", "status": "$.s"}}, "`update` is sent in bulk"),
            ({"bulk": {"results": "$.r", "status": "$.s", "match_by": "id"}}, "needs `id` and"),
            (
                {"delete": {"method": "DELETE", "path": "/x", "done": [503]}},
                "503 cannot count as done",
            ),
            ({"headers": {"authorization": "Bearer x"}}, "does not belong into a mapping"),
            ({"headers": {"X": "a\r\nY: b"}}, "malformed"),
            ({"create": {"method": "POST", "path": "https://x/y"}}, "is no path"),
            ({"create": {"method": "POST", "path": "/x?y=1"}}, "has a query"),
            ({"create": {"method": "POST", "path": "/{a b}"}}, "names nothing"),
        ],
    )
    def test_what_does_not_fit_together_is_told(self, declared: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            delivery(SINGLE, **declared)
