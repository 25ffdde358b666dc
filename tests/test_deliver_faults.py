"""Deliver: faults of an API, lost answers, and refusals."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import uuid4

import pytest

from demo.shop.api import ShopServer, Store, api_key
from demo.shop.api.write_log import entries, times_applied
from sinew.engine.deliver import redeliver, waiting_windows
from sinew.engine.planner import prepare
from sinew.engine.steps import Context, run_step
from sinew.engine.sync_run import run_sync
from sinew.engine.windows import plan_window
from sinew.errors import (
    ApiAccessError,
    ConfigurationError,
    FencedError,
    GateFailedError,
    MismatchError,
    OutcomeUnknownError,
    RetriableError,
    UnavailableError,
)
from tests.fix_deliver import BULK, NOW, SINGLE, DeliverCase
from tests.fix_sync import api_session
from tests.kit_api import Asked, Reply, serving

HEADER = "      idempotency_header: Idempotency-Key\n"


def without_read_back(delivery: DeliverCase) -> None:
    delivery.without("      read_back:\n", "")


def one_key_each(delivery: DeliverCase) -> bool:
    """Whether each request that came more than once carried the same idempotency key each time."""
    keys: dict[tuple[str, str, str], set[str | None]] = {}
    for entry in entries(delivery.shop.store):
        keys.setdefault((entry.method, entry.path, entry.digest), set()).add(entry.key)
    return all(len(found) == 1 and None not in found for found in keys.values())


class TestFaults:
    @pytest.mark.parametrize("way", [SINGLE, BULK], ids=["one by one", "in bulk"])
    def test_faults_before_and_after_the_work_leave_each_row_applied_once(
        self, delivery: DeliverCase, way: str
    ) -> None:
        delivery.say(SINGLE, way)
        delivery.fill(200)
        shares = dict.fromkeys(
            ["server_error", "drop_before", "error_after", "drop_after", "half_body", "wrong_json"],
            0.05,
        )
        delivery.shop.control.set({"faults": shares | {"path": "/contacts", "in_a_row": 2}})
        assert delivery.run().loaded == 200
        assert delivery.same()
        assert set(times_applied(delivery.shop.store).values()) == {1}
        assert one_key_each(delivery)

    def test_a_run_goes_on_where_an_api_that_went_away_cut_it_off(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(60)
        delivery.shop.control.fail_next("unavailable", 100, method="POST", skip=30)
        batch = delivery.plan(run_id := str(uuid4()))
        with pytest.raises(RetriableError):
            delivery.step(batch, "load")
        acknowledged = {row[0] for row in delivery.sql("SELECT idempotency_key FROM sinew.receipt")}
        assert 20 <= len(acknowledged) < 60
        before = len(entries(delivery.shop.store))
        delivery.shop.control.reset()
        assert delivery.finish(run_id, batch).loaded == 60
        assert delivery.same()
        assert not acknowledged & {entry.key for entry in entries(delivery.shop.store)[before:]}

    def test_an_api_that_is_down_may_be_there_later(self, delivery: DeliverCase) -> None:
        delivery.fill(2)
        context = delivery.context()
        nowhere = Context(
            context.migration,
            context.source,
            context.home,
            open_api=partial(api_session, "http://127.0.0.1:1"),
        )
        with pytest.raises(UnavailableError):
            run_sync(nowhere, None, datetime.fromisoformat(NOW), "one")
        assert delivery.run().loaded == 2

    def test_an_api_that_does_not_know_us_is_a_matter_for_a_person(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(2)
        with Store() as store, ShopServer(store, verify=api_key("secret")) as guarded:
            shop, delivery.shop = delivery.shop, guarded
            with pytest.raises(ApiAccessError) as raised:
                delivery.run()
            delivery.shop = shop
        assert isinstance(raised.value, ConfigurationError)
        assert delivery.run().loaded == 2
        assert delivery.same()

    def test_two_copies_of_a_step_send_each_row_once(self, delivery: DeliverCase) -> None:
        delivery.fill(60)
        batch = delivery.plan(run_id := str(uuid4()))
        delivery.step(batch, "check")
        copies = [threading.Thread(target=delivery.step, args=(batch, "load")) for _ in range(2)]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        assert delivery.finish(run_id, batch).loaded == 60
        assert Counter(times_applied(delivery.shop.store).values()) == {1: 60}
        assert len(entries(delivery.shop.store)) == 60

    def test_a_newer_window_waits_until_an_older_one_has_sent(self, delivery: DeliverCase) -> None:
        delivery.say("    key: [id]\n", "    key: [id]\n    watermark: {column: updated_at}\n")
        without_read_back(delivery)
        delivery.fill(1)
        go_on, came = threading.Event(), threading.Event()

        def hold(asked: Asked) -> Reply:
            came.set()
            go_on.wait(60)
            return Reply({}, 201)

        with serving(hold) as (server, _):
            context = replace(delivery.context(), open_api=partial(api_session, server.url))
            days = [datetime.fromisoformat(f"2026-05-0{day}T00:00:00+00:00") for day in (1, 2, 3)]
            prepare(context)
            older = plan_window(context, days[0], days[1], "older")["contacts"]
            run_step(context, older, "check")
            delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-02 00:00Z', email = 'new'")
            newer = plan_window(context, days[1], days[2], "newer")["contacts"]
            run_step(context, newer, "check")
            loads = [threading.Thread(target=run_step, args=(context, older, "load"))]
            loads[0].start()
            assert came.wait(60)
            loads.append(threading.Thread(target=run_step, args=(context, newer, "load")))
            loads[1].start()
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            while delivery.sql(waiting) == [(0,)]:
                assert len(server.asked) == 1
                time.sleep(0.01)
            go_on.set()
            for load in loads:
                load.join()
            sent = [(asked.method, asked.json["email"]) for asked in server.asked]
        assert sent == [("POST", "c1@shop.example"), ("PUT", "new")]

    def test_a_zombie_keeps_no_receipt_once_another_attempt_has_taken_over(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        batch = delivery.plan()
        delivery.step(batch, "check")

        def take_over(asked: Asked) -> Reply:
            delivery.sql("UPDATE sinew.batch SET attempt = attempt + 1 WHERE id = %s", batch)
            return Reply({}, 201)

        with serving(take_over) as (server, _):
            context = replace(delivery.context(), open_api=partial(api_session, server.url))
            with pytest.raises(FencedError):
                run_step(context, batch, "load")
        assert delivery.sql("SELECT id FROM sinew.receipt") == []
        assert delivery.sql("SELECT state FROM sinew.batch") == [("checked",)]


class TestLostAnswers:
    """An API that takes no idempotency key, and whose answers get lost."""

    @pytest.fixture
    def keyless(self, delivery: DeliverCase) -> Iterator[DeliverCase]:
        delivery.say(HEADER, "")
        delivery.fill(10)
        yield delivery

    @pytest.mark.parametrize("fault", ["drop_after", "drop_before", "error_after", "server_error"])
    def test_a_row_is_looked_up_before_it_is_sent_again(
        self, keyless: DeliverCase, fault: str
    ) -> None:
        keyless.shop.control.fail_next(fault, 3, method="POST", skip=2)
        assert keyless.run().loaded == 10
        assert keyless.same()
        assert set(times_applied(keyless.shop.store).values()) == {1}
        told = Counter(keyless.sql("SELECT status FROM sinew.receipt"))
        assert told == {("accepted",): 10, ("unknown",): 3}

    def test_without_a_way_to_look_a_person_is_told_and_all_others_arrive(
        self, keyless: DeliverCase
    ) -> None:
        without_read_back(keyless)
        keyless.shop.control.fail_next("drop_after", 2, method="POST", skip=2)
        batch = keyless.plan(str(uuid4()))
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError, match="2 rows may have .*`read_back`.*new run"):
                keyless.step(batch, "load")
        assert len(keyless.contacts()) == 10
        assert set(times_applied(keyless.shop.store).values()) == {1}

    def test_what_the_message_advises_settles_it(self, keyless: DeliverCase) -> None:
        with_it = dict(keyless.replaced)
        without_read_back(keyless)
        keyless.shop.control.fail_next("drop_after", 2, method="POST", skip=2)
        with pytest.raises(OutcomeUnknownError):
            keyless.run()
        keyless.replaced = with_it
        assert keyless.run().loaded == 2
        assert keyless.same()
        assert set(times_applied(keyless.shop.store).values()) == {1}

    def test_a_deletion_may_arrive_twice(self, keyless: DeliverCase) -> None:
        keyless.run()
        keyless.sql("DELETE FROM crm.customers WHERE id = 10")
        keyless.shop.control.fail_next("drop_after", 1, method="DELETE")
        assert keyless.run().deleted == 1
        assert keyless.same()

    def test_an_update_did_not_arrive_because_some_columns_agree(
        self, keyless: DeliverCase
    ) -> None:
        keyless.say("update: {method: PUT", "update: {method: PATCH")
        compared = keyless.text[keyless.text.index("{email: $.email, full_name") :]
        keyless.say(compared, "{email: $.email}\n")
        keyless.run()
        keyless.sql("UPDATE crm.customers SET full_name = 'New' WHERE id = 3")
        keyless.shop.control.fail_next("drop_before", 1, method="PATCH")
        assert keyless.run().loaded == 1
        assert keyless.same()


class TestDoubts:
    """A row was changed, sent, and its task died; then the row changed again."""

    def in_doubt(self, delivery: DeliverCase, method: str) -> None:
        """Let the API apply what comes next by this method, and every answer get lost."""
        delivery.shop.control.fail_next("drop_after", 100, method=method)
        with pytest.raises(RetriableError):
            delivery.run()
        delivery.shop.control.reset()

    def test_a_row_that_went_back_meanwhile_is_sent_all_the_same(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(1)
        delivery.run()
        delivery.sql("UPDATE crm.customers SET full_name = 'New'")
        self.in_doubt(delivery, "PUT")
        assert delivery.contacts()["1"]["full_name"] == "New"
        delivery.sql("UPDATE crm.customers SET full_name = 'Name 1'")
        assert delivery.run().loaded == 1
        assert delivery.same()

    def test_a_new_row_that_changed_meanwhile_is_created_or_updated_as_it_is_found(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(1)
        self.in_doubt(delivery, "POST")
        delivery.sql("UPDATE crm.customers SET full_name = 'Newer'")
        assert delivery.run().loaded == 1
        assert delivery.same()
        methods = [entry.method for entry in entries(delivery.shop.store)]
        assert methods == ["POST"] * 4 + ["PUT"]

    def test_a_new_row_that_is_gone_meanwhile_is_deleted(self, delivery: DeliverCase) -> None:
        delivery.fill(2)
        self.in_doubt(delivery, "POST")
        gone = next(iter(delivery.contacts()))
        delivery.sql("DELETE FROM crm.customers WHERE id = %s", gone)
        delivery.run()
        assert delivery.same()

    def test_a_new_row_arrives_once_though_another_of_its_request_changed_meanwhile(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say(SINGLE, BULK)
        delivery.fill(20)
        self.in_doubt(delivery, "POST")
        delivery.sql("UPDATE crm.customers SET full_name = 'Newer' WHERE id = 5")
        delivery.run()
        assert delivery.same()
        applied = times_applied(delivery.shop.store)
        assert {key for key, times in applied.items() if times > 1} == {"5"}

    @pytest.mark.parametrize("update", ["PUT", "PATCH"])
    def test_a_deletion_that_is_called_off_leaves_the_row_there(
        self, delivery: DeliverCase, update: str
    ) -> None:
        # A PATCH cannot bring back what the deletion took.
        delivery.say("update: {method: PUT", f"update: {{method: {update}")
        delivery.fill(2)
        delivery.run()
        delivery.sql("DELETE FROM crm.customers WHERE id = 2")
        self.in_doubt(delivery, "DELETE")
        delivery.sql(
            "INSERT INTO crm.customers SELECT 2, 'c2@shop.example', 'Name 2', 'DE', 0.5, true"
        )
        delivery.run()
        assert delivery.same()

    def test_a_refused_version_does_not_settle_what_was_under_way_before(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        delivery.run()
        delivery.sql("UPDATE crm.customers SET full_name = 'New' WHERE id = 1")
        self.in_doubt(delivery, "PUT")
        delivery.sql("UPDATE crm.customers SET email = 'no address' WHERE id = 1")
        assert delivery.run().rejected == 1
        # Back to what was acknowledged first: but the API has what got lost.
        delivery.sql("UPDATE crm.customers SET full_name = 'Name 1', email = 'c1@shop.example'")
        delivery.sql(
            "UPDATE crm.customers SET full_name = 'Name ' || id, email = 'c' || id || '@shop.example'"
        )
        assert delivery.run().loaded == 1
        assert delivery.same()


class TestRefusals:
    @pytest.mark.parametrize("way", [SINGLE, BULK], ids=["one by one", "in bulk"])
    def test_a_refused_row_is_a_reject_with_the_apis_reason_and_the_others_arrive(
        self, delivery: DeliverCase, way: str
    ) -> None:
        delivery.say(SINGLE, way)
        delivery.fill(30)
        delivery.sql("UPDATE crm.customers SET email = 'bo@blocked.example' WHERE id = 7")
        run = delivery.run()
        assert (run.read, run.loaded, run.rejected) == (30, 29, 1)
        told = delivery.sql("SELECT source_key, rule, reason, value FROM sinew.reject")
        assert [row[:2] for row in told] == [({"id": "7"}, "refused")]
        assert "email_blocked" in told[0][2] and "bo@" not in told[0][2]
        assert delivery.sql("SELECT state FROM sinew_rows.contacts__contacts WHERE k1 = 7") == [
            ("rejected",)
        ]

    def test_it_is_told_in_each_run_and_sent_again_only_when_it_changes(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        delivery.sql("UPDATE crm.customers SET email = 'none' WHERE id = 2")
        delivery.run()
        sent = len(entries(delivery.shop.store))
        again = delivery.run()
        assert (again.loaded, again.unchanged, again.rejected) == (0, 2, 1)
        assert len(entries(delivery.shop.store)) == sent
        delivery.sql("UPDATE crm.customers SET email = 'bo@shop.example' WHERE id = 2")
        assert delivery.run().loaded == 1
        assert delivery.same()

    def test_a_row_that_goes_back_lets_the_run_that_failed_by_it_end(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say("max_rejects: 0.5", "max_rejects: 0")
        delivery.fill(3)
        delivery.run()
        delivery.sql("UPDATE crm.customers SET email = 'none' WHERE id = 2")
        batch = delivery.plan("again")
        with pytest.raises(GateFailedError):
            delivery.step(batch, "validate")
        delivery.sql("UPDATE crm.customers SET email = 'c2@shop.example' WHERE id = 2")
        run = delivery.finish("again", batch)
        assert (run.loaded, run.unchanged, run.rejected) == (0, 3, 0)

    def test_redeliver_sends_it_again_as_it_is(self, delivery: DeliverCase) -> None:
        delivery.fill(3)
        with delivery.shop.store.writing() as store:
            store.execute(
                "INSERT INTO contacts (created_at, updated_at, body, external_id) VALUES ('', '', '{}', '2')"
            )
        assert delivery.run().rejected == 1
        with delivery.shop.store.writing() as store:
            store.execute("DELETE FROM contacts WHERE external_id = '2'")
        assert redeliver(delivery.context(), "contacts", [{"id": 1}]) == 0
        assert redeliver(delivery.context(), keys=[{"id": 2}]) == 1
        assert redeliver(delivery.context()) == 0
        assert delivery.run().loaded == 1
        assert delivery.same()

    def test_redeliver_names_the_windows_that_hold_the_rows(self, delivery: DeliverCase) -> None:
        delivery.say("    key: [id]\n", "    key: [id]\n    watermark: {column: updated_at}\n")
        delivery.fill(2)
        delivery.sql("UPDATE crm.customers SET email = 'none' WHERE id = 2")
        bounds = ("2026-05-01T00:00:00+00:00", "2026-05-02T00:00:00+00:00")
        delivery.run(*bounds)
        assert redeliver(delivery.context()) == 1
        windows = [
            tuple(map(datetime.isoformat, found)) for found in waiting_windows(delivery.context())
        ]  # type: ignore[arg-type]
        assert windows == [bounds]
        run = delivery.run(*bounds)
        assert (run.unchanged, run.rejected, waiting_windows(delivery.context())) == (1, 1, [])

    def test_a_record_that_somebody_deleted_at_the_api_is_created_anew(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say("update: {method: PUT", "update: {method: PATCH")
        delivery.fill(2)
        delivery.run()
        with delivery.shop.store.writing() as store:
            store.execute("DELETE FROM contacts WHERE external_id = '2'")
        delivery.sql("UPDATE crm.customers SET full_name = 'New' WHERE id = 2")
        assert delivery.run().rejected == 1
        sent = len(entries(delivery.shop.store))
        assert delivery.run().rejected == 1
        assert len(entries(delivery.shop.store)) == sent
        assert redeliver(delivery.context()) == 1
        run = delivery.run()
        assert (run.loaded, run.rejected) == (1, 0)
        assert delivery.same()

    def test_redeliver_names_the_window_to_which_a_row_has_moved(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say("    key: [id]\n", "    key: [id]\n    watermark: {column: updated_at}\n")
        delivery.without("      updated: {from: updated_at}\n", "    deliver:")
        delivery.say(", updated: $.updated", "")
        delivery.fill(2)
        delivery.sql("UPDATE crm.customers SET email = 'none' WHERE id = 2")
        days = [f"2026-05-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
        delivery.run(*days[:2])
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-02 12:00Z' WHERE id = 2")
        with pytest.raises(GateFailedError):
            delivery.run(*days[1:])
        assert redeliver(delivery.context()) == 1
        assert waiting_windows(delivery.context()) == [
            (datetime.fromisoformat(days[1]), datetime.fromisoformat(days[2]))
        ]

    def test_a_row_whose_earlier_record_the_api_does_not_delete_is_a_reject(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say("from: id, do", "from: email, do")
        delivery.say(
            'delete: {method: DELETE, path: "/contacts/{external_id}"}',
            'delete: {method: PATCH, path: "/contacts/{external_id}", body: {email: none}}',
        )
        delivery.fill(3)
        delivery.run()
        delivery.sql("UPDATE crm.customers SET email = 'new@shop.example' WHERE id = 3")
        for _ in range(2):
            run = delivery.run()
            assert (run.loaded, run.unchanged, run.rejected) == (0, 2, 1)
            assert sorted(delivery.contacts()) == [f"c{i}@shop.example" for i in (1, 2, 3)]

    def test_redeliver_lets_a_sync_read_from_the_oldest_refused_row_on(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say(
            "    key: [id]\n", "    key: [id]\n    watermark: {column: updated_at, by: since}\n"
        )
        delivery.say("vanished: delete", "vanished: keep")
        delivery.fill(3)
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-09 00:00Z' WHERE id = 3")
        delivery.sql("UPDATE crm.customers SET email = 'none' WHERE id = 2")
        delivery.run()
        assert delivery.run(upper="2026-06-02T00:00:00+00:00").read == 1
        assert redeliver(delivery.context()) == 1
        assert delivery.run(upper="2026-06-03T00:00:00+00:00").read == 3

    def test_redeliver_is_for_an_entity_of_a_delivery(self, delivery: DeliverCase) -> None:
        delivery.plan()
        with pytest.raises(ConfigurationError, match="no entity 'orders'; allowed: contacts"):
            redeliver(delivery.context(), "orders")

    def test_more_refusals_than_the_mapping_allows_fail_the_run_once_all_others_are_there(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say("max_rejects: 0.5", "max_rejects: 1")
        delivery.fill(10)
        delivery.sql("UPDATE crm.customers SET email = 'none' WHERE id > 8")
        with pytest.raises(
            GateFailedError, match=r"2 rows are rejects.*allowed: 1 \(max_rejects\)"
        ):
            delivery.run()
        assert len(delivery.contacts()) == 8

    def test_a_refused_deletion_is_a_reject_and_the_record_stays(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say(
            'delete: {method: DELETE, path: "/contacts/{external_id}"}',
            'delete: {method: PATCH, path: "/contacts/{external_id}", body: {email: none}}',
        )
        delivery.fill(3)
        delivery.run()
        delivery.sql("DELETE FROM crm.customers WHERE id = 3")
        for _ in range(2):
            run = delivery.run()
            assert (run.unchanged, run.deleted, run.rejected) == (2, 0, 1)
        assert len([e for e in entries(delivery.shop.store) if e.method == "PATCH"]) == 1


class TestReadBack:
    def test_a_record_that_the_api_stores_otherwise_is_named_by_key_and_column(
        self, delivery: DeliverCase
    ) -> None:
        delivery.say("lifetime_value: $.lifetime_value", "lifetime_value: $.id")
        delivery.fill(8)
        with pytest.raises(
            MismatchError, match="8 changes, but 8 of them .*columns: lifetime_value"
        ) as raised:
            delivery.run()
        assert '{"id": "1"}' in str(raised.value) and "3 more" in str(raised.value)

    def test_keys_are_masked_where_they_are_personal(self, delivery: DeliverCase) -> None:
        delivery.say(
            "do: [{cast: text}]}\n      email", "do: [{cast: text}], pii: true}\n      email"
        )
        delivery.say("lifetime_value: $.lifetime_value", "lifetime_value: $.id")
        delivery.fill(2)
        with pytest.raises(MismatchError, match="2 keys, masked"):
            delivery.run()

    def test_what_differs_or_is_missing_is_sent_again(self, delivery: DeliverCase) -> None:
        delivery.fill(5)
        batch = delivery.plan(run_id := str(uuid4()))
        delivery.step(batch, "load")
        with delivery.shop.store.writing() as store:
            store.execute("DELETE FROM contacts WHERE external_id = '2'")
            store.execute(
                "UPDATE contacts SET body = json_set(body, '$.country', 'FR') WHERE external_id = '4'"
            )
        with pytest.raises(
            MismatchError, match="5 changes, but 2 of them .*1 are not there; columns: country"
        ):
            delivery.step(batch, "validate")
        assert delivery.finish(run_id, batch).loaded == 5
        assert delivery.same()

    def test_a_deleted_record_that_is_still_there_is_deleted_again(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        delivery.run()
        delivery.sql("DELETE FROM crm.customers WHERE id = 3")
        batch = delivery.plan(run_id := str(uuid4()))
        delivery.step(batch, "load")
        with delivery.shop.store.writing() as store:
            store.execute(
                "INSERT INTO contacts (created_at, updated_at, body, external_id) VALUES ('', '', '{}', '3')"
            )
        with pytest.raises(MismatchError, match="1 changes, but 1 of them"):
            delivery.step(batch, "validate")
        assert delivery.finish(run_id, batch).deleted == 1
        assert delivery.same()

    def test_without_it_receipts_account_for_every_row(self, delivery: DeliverCase) -> None:
        without_read_back(delivery)
        delivery.fill(4)
        batch = delivery.plan()
        delivery.step(batch, "load")
        delivery.sql('DELETE FROM sinew.receipt WHERE source_key = \'{"id": "3"}\'')
        with pytest.raises(MismatchError, match="1 of 4 rows have no receipt"):
            delivery.step(batch, "validate")
