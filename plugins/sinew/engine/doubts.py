"""Rows that may have arrived already: what is to be done about each, before anything is sent again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sinew.api.outgoing import Receipt
from sinew.api.read_back import Comparison, read_back
from sinew.compile.entity_plan import EntityPlan
from sinew.engine.changes import Change, delivery_of, regrouped, repeatable
from sinew.spec.delivery import Delivery

if TYPE_CHECKING:
    import requests


@dataclass
class Settlement:
    """Rows to send (in the way that fits what is there), rows that are there as they should be, and the rest."""

    send: list[Change] = field(default_factory=list)
    there: list[tuple[Change, Receipt]] = field(default_factory=list)
    unsettled: list[Change] = field(default_factory=list)


def settle_doubts(
    session: requests.Session, plan: EntityPlan, doubts: Sequence[Change]
) -> Settlement:
    """Look up what cannot be sent again in the dark. Without a way to look, such rows stay unsettled."""
    delivery, found = delivery_of(plan), Settlement()
    dark: list[Change] = []
    for change in doubts:
        (found.send if _harmless(delivery, change) else dark).append(change)
    if delivery.read_back is None:
        found.unsettled = dark
    elif dark:
        _look(session, plan, delivery, dark, found)
    # In their order, so that the rows of one bulk request come together again.
    places = {change.key: i for i, change in enumerate(doubts)}
    found.send.sort(key=lambda change: places[change.key])
    return found


def _harmless(delivery: Delivery, change: Change) -> bool:
    """Whether a change does the same good whether or not what was on its way has arrived."""
    if change.repeats and regrouped(delivery, change.kind):
        return False
    if change.repeats or change.kind == "delete":
        return repeatable(delivery, change.kind)
    if change.sending == "update" and change.kind == "update":
        # The record is there in any case, in one version or the other.
        return True
    if change.sending == "delete" and delivery.read_back is not None:
        # Whether there is anything to update.
        return False
    how = delivery.change(change.kind)
    if how is not None and how.method == "PUT":
        return True
    # A conflict tells that it has arrived.
    return change.kind == "create" and delivery.conflict == "update"


def _proves(delivery: Delivery, plan: EntityPlan, change: Change) -> bool:
    """Whether a record that agrees shows that the change has arrived: an update may be of what is not compared."""
    if change.kind == "delete":
        return True
    compared = {
        *plan.entity.target_key,
        *(delivery.read_back.compare if delivery.read_back else ()),
    }
    return change.repeats and (change.kind == "create" or compared >= {*plan.entity.columns})


def _look(
    session: requests.Session,
    plan: EntityPlan,
    delivery: Delivery,
    dark: Sequence[Change],
    found: Settlement,
) -> None:
    rows = (change.out(plan) for change in dark)
    for change, seen in zip(dark, read_back(session, delivery, rows), strict=True):
        if seen.agrees and _proves(delivery, plan, change):
            found.there.append((change, _receipt(change)))
        else:
            found.send.append(_fitting(delivery, change, seen))


def _fitting(delivery: Delivery, change: Change, seen: Comparison) -> Change:
    """A record that is there is updated, one that is not is created, as far as the mapping says how."""
    if change.kind == "delete":
        return change
    if seen.found and delivery.update is not None:
        return change.instead("update")
    if not seen.found and delivery.create is not None:
        return change.instead("create")
    return change


def _receipt(change: Change) -> Receipt:
    """For what an earlier attempt has sent, by the evidence of the record itself."""
    return Receipt(
        change.key,
        change.version,
        "accepted",
        None,
        None,
        "found",
        "it was there when it was looked up",
        0,
        datetime.now(UTC),
    )
