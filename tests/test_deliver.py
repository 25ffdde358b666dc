"""Deliver: an API gets what changed, once, and the ledger knows what it has."""

from __future__ import annotations

from tests.fix_deliver import DeliverCase


class TestChanges:
    def test_new_changed_and_vanished_rows_are_sent_and_the_rest_is_left_alone(
        self, delivery: DeliverCase
    ) -> None:
        delivery.fill(50)
        first = delivery.run()
        assert (first.read, first.loaded, first.unchanged, first.rejected) == (50, 50, 0, 0)
        assert delivery.same()
        delivery.sql("UPDATE crm.customers SET full_name = 'New' WHERE id <= 3")
        delivery.sql("DELETE FROM crm.customers WHERE id > 48")
        delivery.sql("INSERT INTO crm.customers (id, email, consent) VALUES (60, 'x@shop.example', true)")
        second = delivery.run()
        assert (second.loaded, second.unchanged, second.deleted) == (4, 45, 2)
        assert delivery.same()
