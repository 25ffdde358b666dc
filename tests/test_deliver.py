"""Deliver: an API gets what changed, once, and the ledger knows what it has."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import partial
from uuid import uuid4

import pytest
from psycopg import sql

from demo.shop.api.write_log import entries, times_applied
from sinew.compile import deliver_sql
from sinew.engine import ledger
from sinew.engine.batch import get_batch
from sinew.engine.changes import HASHED
from sinew.engine.session import Endpoint, connect
from sinew.engine.steps import Context
from sinew.engine.sync_run import run_sync
from sinew.errors import ConstraintError, GateFailedError
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_deliver import BULK, NOW, SINGLE, DeliverCase
from tests.fix_sync import api_session
from tests.kit_api import Asked, Reply, serving


class TestChanges:
    @pytest.mark.parametrize("way", [SINGLE, BULK], ids=["one by one", "in bulk"])
    def test_new_changed_and_vanished_rows_are_sent_and_the_rest_is_left_alone(
        self, delivery: DeliverCase, way: str
    ) -> None:
        delivery.say(SINGLE, way)
        delivery.fill(50)
        first = delivery.run()
        assert (first.read, first.loaded, first.unchanged, first.rejected) == (50, 50, 0, 0)
        assert delivery.same()
        delivery.sql("UPDATE crm.customers SET full_name = 'New' WHERE id <= 3")
        delivery.sql("DELETE FROM crm.customers WHERE id > 48")
        delivery.sql(
            "INSERT INTO crm.customers (id, email, consent) VALUES (60, 'x@y.example', true)"
        )
        second = delivery.run()
        assert (second.loaded, second.unchanged, second.deleted) == (4, 45, 2)
        assert delivery.same()
        applied = times_applied(delivery.shop.store)
        assert {key for key, count in applied.items() if count > 1} == {"1", "2", "3", "49", "50"}

    def test_a_run_that_finds_nothing_new_asks_the_api_for_nothing(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(20)
        delivery.run()
        sent = delivery.shop.control.counters.snapshot()
        again = delivery.run()
        assert (again.loaded, again.unchanged) == (0, 20)
        assert delivery.shop.control.counters.snapshot() == sent

    def test_an_empty_source_makes_an_empty_run(self, delivery: DeliverCase) -> None:
        assert delivery.run().read == 0
        assert entries(delivery.shop.store) == []

    def test_a_row_that_comes_back_is_created_anew(self, delivery: DeliverCase) -> None:
        delivery.fill(5)
        delivery.run()
        delivery.sql("DELETE FROM crm.customers WHERE id = 5")
        delivery.run()
        assert delivery.same()
        delivery.sql(
            "INSERT INTO crm.customers SELECT 5, email, full_name, country, worth, consent FROM crm.customers LIMIT 1"
        )
        assert delivery.run().loaded == 1
        assert delivery.same()

    def test_a_row_that_goes_back_to_an_earlier_version_is_sent_again(
        self, delivery: DeliverCase
    ) -> None:
        # Under the first request's key the API would answer from its memory, and change nothing.
        delivery.fill(2)
        for name in ("Name 1", "Other", "Name 1", "Other"):
            delivery.sql("UPDATE crm.customers SET full_name = %s WHERE id = 1", name)
            delivery.run()
            assert delivery.same()
        keys = Counter(entry.key for entry in entries(delivery.shop.store))
        assert max(keys.values()) == 1

    def test_kept_rows_stay_at_the_api(self, delivery: DeliverCase) -> None:
        delivery.say("vanished: delete", "vanished: keep")
        delivery.fill(4)
        delivery.run()
        delivery.sql("DELETE FROM crm.customers WHERE id = 4")
        run = delivery.run()
        assert (run.unchanged, run.deleted, len(delivery.contacts())) == (3, 0, 4)

    def test_an_empty_answer_of_the_source_does_not_empty_the_api(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(4)
        delivery.run()
        delivery.sql("TRUNCATE crm.customers")
        with pytest.raises(
            ConstraintError, match="4 of 4 rows are gone from the source, at most 3"
        ):
            delivery.run()
        assert len(delivery.contacts()) == 4

    def test_the_record_under_an_earlier_key_is_deleted_before_the_row_is_created_anew(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        delivery.run()
        delivery.say(
            "external_id: {key: copy, from: id, do: [{cast: text}]}",
            "external_id: {expr: \"'n' || id\"}",
        )
        delivery.say("    key: [id]\n", "    key: [id]\n    target_key: [external_id]\n")
        run = delivery.run()
        assert (run.loaded, sorted(delivery.contacts())) == (3, ["n1", "n2", "n3"])

    def test_rows_that_are_gone_are_found_without_a_search_for_each_row(
        self, delivery: DeliverCase
    ) -> None:
        # Otherwise twice as many rows take four times as long.
        delivery.fill(5)
        batch = delivery.plan()
        delivery.step(batch, "check")
        context = delivery.context()
        with connect(context.home) as home:
            plan = ledger.planned(home, context.migration, "contacts").plan
            where = (plan, batch, get_batch(home, batch).range)
            home.execute(HASHED)
            for query in (deliver_sql.count_gone(*where), deliver_sql.select_deletions(*where)):
                lines = home.execute(sql.SQL("EXPLAIN {}").format(query)).fetchall()
                told = "\n".join(line for (line,) in lines)
                staged = [line for line in told.split("\n") if f"staging_{batch}" in line]
                assert len(staged) == 1 and "Anti Join" in told
                assert "Nested Loop" not in told and "hashed SubPlan" not in told


class TestKindsThatTheMappingLeavesOut:
    def test_a_changed_row_without_an_update_is_a_reject_and_stays_one(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(3)
        delivery.run()
        delivery.say('      update: {method: PUT, path: "/contacts/{external_id}"}\n', "")
        delivery.sql("UPDATE crm.customers SET full_name = 'New' WHERE id = 1")
        for _ in range(2):
            run = delivery.run()
            assert (run.loaded, run.unchanged, run.rejected) == (0, 2, 1)
        told = delivery.sql("SELECT rule, reason FROM sinew.reject ORDER BY batch_id LIMIT 1")
        assert told == [("undeliverable", "the mapping does not say how to update it at the API")]

    def test_it_is_sent_once_the_mapping_says_how(self, delivery: DeliverCase) -> None:
        delivery.say("max_rejects: 0.5", "max_rejects: 5")
        delivery.say("      create: {method: POST, path: /contacts}\n", "")
        delivery.fill(2)
        assert delivery.run().rejected == 2
        delivery.replaced.popitem()
        assert delivery.run().loaded == 2
        assert delivery.same()


class TestTheGate:
    def test_nothing_is_sent_of_a_batch_that_fails_it(self, delivery: DeliverCase) -> None:
        delivery.say("max_rejects: 0.5", "max_rejects: 0")
        delivery.say("{from: country}", "{from: country, do: [{cast: integer}]}")
        delivery.fill(3)
        with pytest.raises(GateFailedError):
            delivery.run()
        assert entries(delivery.shop.store) == []

    def test_nothing_is_sent_that_the_gate_did_not_see(self, delivery: DeliverCase) -> None:
        delivery.fill(3)
        batch = delivery.plan(run_id := str(uuid4()))
        delivery.step(batch, "check")
        delivery.sql(f"UPDATE sinew_stage.staging_{batch} SET email = 'planted@shop.example'")
        # The batch is read again, and judged again.
        assert delivery.finish(run_id, batch).loaded == 3
        assert delivery.same()
        assert set(times_applied(delivery.shop.store).values()) == {1}

    def test_nothing_is_sent_without_a_verdict(self, delivery: DeliverCase) -> None:
        delivery.fill(3)
        batch = delivery.plan()
        delivery.step(batch, "transform")
        delivery.sql(
            "UPDATE sinew.batch SET state = 'checked', gate_attempt = attempt WHERE id = %s", batch
        )
        with pytest.raises(GateFailedError, match="no passed gate"):
            delivery.step(batch, "load")
        assert entries(delivery.shop.store) == []


class TestWindows:
    def windowed(self, delivery: DeliverCase, by: str = "window") -> None:
        delivery.say(
            "    key: [id]\n", f"    key: [id]\n    watermark: {{column: updated_at, by: {by}}}\n"
        )

    def test_a_window_deletes_what_is_gone_from_it_and_nothing_else(
        self, delivery: DeliverCase
    ) -> None:
        self.windowed(delivery)
        delivery.fill(6)
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-02 00:00Z' WHERE id > 3")
        days = [f"2026-05-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
        assert [delivery.run(*days[:2]).loaded, delivery.run(*days[1:]).loaded] == [3, 3]
        # Row 1 has moved to the later window; row 4 is gone.
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-02 12:00Z' WHERE id = 1")
        delivery.sql("DELETE FROM crm.customers WHERE id IN (4)")
        later = delivery.run(*days[1:])
        assert (later.loaded, later.unchanged, later.deleted) == (1, 2, 1)
        earlier = delivery.run(*days[:2])
        assert (earlier.loaded, earlier.unchanged, earlier.deleted) == (0, 2, 0)
        assert delivery.same()

    def test_an_older_version_does_not_overwrite_a_newer_one(self, delivery: DeliverCase) -> None:
        self.windowed(delivery)
        delivery.say("vanished: delete", "vanished: keep")
        delivery.fill(2)
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-05 00:00Z', full_name = 'new'")
        delivery.run("2026-05-05T00:00:00+00:00", "2026-05-06T00:00:00+00:00")
        # As a copy that lags behind would show it.
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-01 00:00Z', full_name = 'old'")
        run = delivery.run("2026-05-01T00:00:00+00:00", "2026-05-02T00:00:00+00:00")
        assert (run.loaded, run.newer) == (0, 2)
        assert {one["full_name"] for one in delivery.contacts().values()} == {"new"}

    def test_a_row_that_changed_in_time_alone_is_not_sent_but_moves_to_its_new_window(
        self, delivery: DeliverCase
    ) -> None:
        self.windowed(delivery)
        delivery.without("      updated: {from: updated_at}\n", "    deliver:")
        delivery.say(", updated: $.updated", "")
        delivery.fill(2)
        days = [f"2026-05-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
        delivery.run(*days[:2])
        delivery.sql("UPDATE crm.customers SET updated_at = '2026-05-02 00:00Z' WHERE id = 1")
        assert delivery.run(*days[1:]).unchanged == 1
        assert delivery.run(*days[:2]).deleted == 0
        assert delivery.same()

    def test_what_is_new_since_the_last_run_is_sent(self, delivery: DeliverCase) -> None:
        self.windowed(delivery, by="since")
        delivery.say("vanished: delete", "vanished: keep")
        delivery.fill(3)
        assert delivery.run().loaded == 3
        delivery.sql(
            "UPDATE crm.customers SET full_name = 'New', updated_at = '2026-05-20 00:00Z' WHERE id = 2"
        )
        run = delivery.run(upper="2026-06-02T00:00:00+00:00")
        assert run.loaded == 1
        assert delivery.same()


SHAPES = """
sync: shapes
source: {conn: crm, schema: crm}
target: {api: api}
entities:
  things:
    from: things
    key: [a, b]
    columns:
      a: {key: copy, from: a}
      b: {key: copy, from: b}
      exact: {from: exact}
      big: {from: big}
      day: {from: day}
      moment: {from: moment}
      document: {from: document}
      list: {from: list}
      "odd %s \\"name\\"": {from: odd}
    deliver:
      create: {method: PUT, path: "/things/{a}/{b}"}
"""


class TestValues:
    def test_values_arrive_as_they_are(self, delivery: DeliverCase) -> None:
        delivery.sql(
            "CREATE TABLE crm.things (a text, b date, exact numeric, big bigint, day date, moment timestamptz, "
            "document jsonb, list integer[], odd text, PRIMARY KEY (a, b))"
        )
        delivery.sql(
            "INSERT INTO crm.things VALUES ('a/ä', '2026-01-31', 1.10, 9007199254740993, 'infinity', "
            "'2026-03-29 03:30:00.123456+02', '{\"n\": 1.10, \"s\": \"ü\"}', '{1,NULL,3}', NULL)"
        )
        with serving(lambda asked: Reply({}, 201)) as (server, _):
            context = Context(
                parse_mapping(SHAPES, kind=Sync),
                Endpoint("crm", delivery.home),
                Endpoint("crm", delivery.home),
                open_api=partial(api_session, server.url),
            )
            run = run_sync(context, None, datetime.fromisoformat(NOW), "one")["things"]
            asked: Asked = server.asked[0]
        assert run.loaded == 1
        assert asked.path == "/things/a%2F%C3%A4/2026-01-31"
        assert asked.body.decode() == (
            '{"a":"a/ä","b":"2026-01-31","exact":1.10,"big":9007199254740993,"day":"infinity",'
            '"moment":"2026-03-29T01:30:00.123456+00:00","document":{"n":1.10,"s":"ü"},"list":[1,null,3],'
            '"odd %s \\"name\\"":null}'
        )
