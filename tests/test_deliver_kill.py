"""Deliver: whatever is killed, and whenever, no row whose receipt was kept is sent again."""

from __future__ import annotations

from typing import Any

import pytest

from demo.shop.api import ShopServer, Store
from sinew.engine.session import Endpoint
from tests.fix_deliver import BULK, SINGLE, DeliverCase
from tests.kit_deliver import DeliveryJob, KillCampaign

pytestmark = [pytest.mark.crash]

_FAULTS = ("server_error", "drop_before", "error_after", "drop_after", "half_body")


def campaign_of(delivery: DeliverCase, **faults: Any) -> KillCampaign:
    delivery.shop.control.set({"faults": {"path": "/contacts", **faults}})
    job = DeliveryJob(delivery.text, delivery.shop.url, Endpoint("crm", delivery.home), "killed")
    return KillCampaign(job, delivery.shop.store)


def check(campaign: KillCampaign, delivery: DeliverCase) -> None:
    """What the acceptance asks."""
    assert delivery.same()
    assert campaign.sent_after_receipt() == 0
    assert campaign.repeats()[1] == 0
    assert campaign.applied_more_than_once() == 0


def test_rows_that_are_sent_one_by_one_arrive_once_through_kills(
    delivery: DeliverCase,
) -> None:
    delivery.fill(2000)
    campaign = campaign_of(delivery)
    outcome = campaign.fight(1900, 12)
    assert (outcome.error, outcome.text, campaign.kills) == ("", "", 12)
    assert campaign.receipts_at_kills > 1000
    check(campaign, delivery)


def test_rows_that_are_sent_in_bulk_arrive_once_through_kills(delivery: DeliverCase) -> None:
    delivery.say(SINGLE, BULK)
    delivery.say("size: 20", "size: 10")
    delivery.fill(2000)
    campaign = campaign_of(delivery)
    outcome = campaign.fight(190, 5)
    assert (outcome.error, outcome.text, campaign.kills) == ("", "", 5)
    check(campaign, delivery)


def test_rows_of_an_api_without_idempotency_keys_arrive_once_through_kills(
    delivery: DeliverCase,
) -> None:
    delivery.say("      idempotency_header: Idempotency-Key\n", "")
    delivery.fill(500)
    campaign = campaign_of(delivery)
    outcome = campaign.fight(400, 4)
    assert (outcome.error, outcome.text) == ("", "")
    assert delivery.same()
    assert campaign.applied_more_than_once() == 0
    assert campaign.repeats()[0] == 0


def test_a_kill_leaves_no_more_rows_in_the_dark_than_there_were_requests_out(
    delivery: DeliverCase,
) -> None:
    delivery.say("      idempotency_header: Idempotency-Key\n", "")
    delivery.without("      read_back:\n", "")
    delivery.fill(200)
    campaign = campaign_of(delivery)
    outcome = campaign.fight(150, 1)
    assert outcome.error == "OutcomeUnknownError"
    (unsettled,) = delivery.sql(
        "SELECT count(*) FROM sinew_rows.contacts__contacts WHERE sending IS NOT NULL"
    )
    # As many as the delivery's concurrency, and what was noted to follow them.
    assert 1 <= unsettled[0] <= 8
    assert campaign.applied_more_than_once() == 0


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", [SINGLE, BULK], ids=["one by one", "in bulk"])
def test_fifty_thousand_rows_through_kills_and_faults(delivery: DeliverCase, way: str) -> None:
    with Store() as store, ShopServer(store) as server:
        delivery.shop = server
        delivery.say(SINGLE, way)
        delivery.fill(50_000)
        campaign = campaign_of(delivery, in_a_row=2, **dict.fromkeys(_FAULTS, 0.01))
        requests = 48_000 if way == SINGLE else 2_400
        outcome = campaign.fight(requests, 60)
        assert (outcome.error, outcome.text) == ("", "")
        again, other_key = campaign.repeats()
        print(
            f"\n{campaign.kills} kills, 5 % faults, 50,000 rows: {campaign.sent_after_receipt()} requests with a "
            f"committed receipt sent again; {again} other repeats, {other_key} of them under another key; "
            f"{campaign.applied_more_than_once()} rows applied more than once"
        )
        check(campaign, delivery)
