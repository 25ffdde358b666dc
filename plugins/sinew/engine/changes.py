"""Changes that a delivery sends: read from staging and row ledger in key order, a few at a time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import sql

from sinew.api.outgoing import OutRow, idempotency_key
from sinew.api.transport import IDEMPOTENT
from sinew.compile.entity_plan import EntityPlan
from sinew.engine.session import Endpoint, connect
from sinew.spec.delivery import ChangeKind, Delivery
from sinew.spec.exchange import fields_in
from sinew.spec.sync import SyncEntity

_FETCHED = 500
# Nobody has counted the rows of staging, and a planner that expects few of them looks through all for each entry.
HASHED = "SET enable_nestloop = off"
HASHED_HERE = "SET LOCAL enable_nestloop = off"
# What Postgres has written itself: whole numbers are exact whatever their size, and decimals keep their digits.
_values = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True)
class Change:
    """One row to send. ``key`` is its source key as JSON, ``entry`` what the row ledger keeps of it as JSON.

    ``version`` is the hash of the mapped row; of a deletion, that of what the API has. ``receipt`` is the number of
    the last receipt that settled anything about the row. ``sending`` and ``sending_version`` are the change that
    may have arrived already.
    """

    key: str
    kind: ChangeKind
    version: int
    values: str = field(repr=False)
    entry: str = field(repr=False)
    receipt: int | None = None
    sending: ChangeKind | None = None
    sending_version: int | None = None

    @property
    def repeats(self) -> bool:
        """Whether this very change may have arrived already."""
        return self.sending == self.kind and self.sending_version == self.version

    def instead(self, kind: ChangeKind) -> Change:
        """The same row, sent in another way."""
        return replace(self, kind=kind)

    def out(self, plan: EntityPlan) -> OutRow:
        """As the API's client takes it."""
        values: dict[str, Any] = _values.decode(self.values)
        key = self.idempotency_key(plan)
        return OutRow(self.key, self.version, self.kind, values, key)

    def idempotency_key(self, plan: EntityPlan) -> str:
        """The same for each repeat of this change, and another one for every other change.

        The last receipt is part of it: a row that goes back to an earlier version is another change, which an API
        must not take for a repeat of the first.
        """
        version = f"{self.kind} {self.version} after {self.receipt or 0}"
        return idempotency_key(plan.migration.name, plan.entity.name, self.key, version)


def delivery_of(plan: EntityPlan) -> Delivery:
    """How the entity's rows are sent."""
    assert isinstance(plan.entity, SyncEntity) and plan.entity.deliver is not None
    return plan.entity.deliver


def repeatable(delivery: Delivery, kind: ChangeKind) -> bool:
    """Whether a change of this kind may arrive twice: by its method, or because it carries an idempotency key."""
    change = delivery.change(kind)
    if change is None or change.method in IDEMPOTENT or delivery.idempotency_header is not None:
        return True
    return "idempotency_key" in fields_in(change.body)


def regrouped(delivery: Delivery, kind: ChangeKind) -> bool:
    """Whether a new row is looked up before it is sent again with others than before, under another idempotency key.

    The key of a request with several rows in a header is that of all of them; one of them may have changed meanwhile.
    """
    change = delivery.change(kind)
    if kind != "create" or change is None or delivery.read_back is None:
        return False
    own_key = "idempotency_key" in fields_in(change.body)
    return delivery.in_bulk(kind) and change.method not in IDEMPOTENT and not own_key


def read_changes(home: Endpoint, query: sql.Composed) -> Generator[Change]:
    """The changes that a query selects, over a connection of its own: what is sent meanwhile does not alter them.

    The server keeps them aside (WITH HOLD), so that no snapshot stays open for as long as an API takes.
    """
    with connect(home, read_only=True, step="load") as reader:
        reader.execute(HASHED)
        with reader.cursor(name="changes", withhold=True) as rows:
            rows.itersize = _FETCHED
            rows.execute(query)
            for row in rows:
                yield Change(*row)
