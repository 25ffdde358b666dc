"""Courier: sends changes, and keeps a receipt of each in the transaction that follows with the row ledger.

Before a row is sent, the ledger notes that it may be on its way; its receipt takes the note away. A row whose note
is still there was in the hands of a task that died: it is in doubt, and is looked up, or sent again under the
idempotency key that it had.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import psycopg

from sinew.api.delivering import deliver_parcels
from sinew.api.outgoing import OutRow, Receipt
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.receipt_sql import keep_receipts, mark_sending
from sinew.engine.batch import Batch, hold_still
from sinew.engine.changes import Change, delivery_of, repeatable
from sinew.spec.delivery import CHANGES, Delivery

if TYPE_CHECKING:
    import requests

# Receipts that may share a transaction where a repeat does no harm, and how long the first of them waits.
_SHARING, _PATIENCE_S = 200, 0.5
# Rows that are noted as on their way at once; so many are in doubt at most when a task dies.
_NOTED = 500


@dataclass
class Courier:
    """Sends one batch's changes over one session; not for threads."""

    home: psycopg.Connection
    session: requests.Session
    plan: EntityPlan
    batch: Batch
    _out: dict[str, Change] = field(default_factory=dict)
    _held: list[Receipt] = field(default_factory=list)
    _held_since: float = 0.0

    @property
    def delivery(self) -> Delivery:
        """How rows are sent."""
        return delivery_of(self.plan)

    def send(self, changes: Iterable[Change]) -> None:
        """Send changes and keep their receipts; one that stays unknown keeps its note.

        Raises what the API's client raises, once the receipts of all that was under way are kept.
        """
        safe = all(repeatable(self.delivery, kind) for kind in CHANGES)
        noted = _NOTED if safe else self._smallest()
        rows = self._noted(iter(changes), noted)
        parcels = deliver_parcels(self.session, self.delivery, rows)
        try:
            with closing(parcels):
                for receipts in parcels:
                    self._hold(receipts)
                    # What must not arrive twice is written down before anything else is sent.
                    if not safe or self._due():
                        self._keep()
        finally:
            self._keep()

    def keep(self, settled: Sequence[tuple[Change, Receipt]]) -> None:
        """Keep receipts of changes that were settled without being sent."""
        for change, receipt in settled:
            self._out[change.key] = change
            self._hold([receipt])
        self._keep()

    def _smallest(self) -> int:
        bulk = self.delivery.bulk
        return self.delivery.limits.concurrency * (bulk.size if bulk else 1)

    def _noted(self, changes: Iterator[Change], at_once: int) -> Iterator[OutRow]:
        while some := list(islice(changes, at_once)):
            self._note(some)
            for change in some:
                self._out[change.key] = change
                yield change.out(self.plan)

    def _note(self, changes: Sequence[Change]) -> None:
        with self.home.transaction():
            hold_still(self.home, self.batch)
            self.home.execute(
                mark_sending(self.plan, self.batch.id),
                {
                    "entries": [change.entry for change in changes],
                    "changes": [change.kind for change in changes],
                    "versions": [change.version for change in changes],
                },
            )

    def _hold(self, receipts: Sequence[Receipt]) -> None:
        if not self._held:
            self._held_since = time.monotonic()
        self._held += receipts

    def _due(self) -> bool:
        waited = time.monotonic() - self._held_since
        return len(self._held) >= _SHARING or waited >= _PATIENCE_S

    def _keep(self) -> None:
        """Commit what is held, with the row ledger."""
        held, self._held = self._held, []
        if not held or self.home.closed:
            return
        with self.home.transaction():
            hold_still(self.home, self.batch)
            self.home.execute(
                keep_receipts(self.plan, self.batch.id),
                _parameters(self.plan, held, [self._out.pop(str(receipt.key)) for receipt in held]),
            )


def _parameters(
    plan: EntityPlan, receipts: Sequence[Receipt], changes: Sequence[Change]
) -> dict[str, list[object]]:
    # Of a repeat, the answer settles what was in doubt as well.
    doubts = [change if not change.repeats else None for change in changes]
    return {
        "keys": [change.key for change in changes],
        "entries": [change.entry for change in changes],
        "versions": [change.version for change in changes],
        "changes": [change.kind for change in changes],
        "idempotency_keys": [change.idempotency_key(plan) for change in changes],
        "statuses": [receipt.status for receipt in receipts],
        "http_statuses": [receipt.http_status for receipt in receipts],
        "remote_ids": [_storable(receipt.remote_id) for receipt in receipts],
        "codes": [_storable(receipt.code) for receipt in receipts],
        "errors": [_storable(receipt.error) for receipt in receipts],
        "attempts": [receipt.attempts for receipt in receipts],
        "sent": [receipt.sent_at for receipt in receipts],
        "doubts": [change.sending if change else None for change in doubts],
        "doubt_versions": [change.sending_version if change else None for change in doubts],
    }


def _storable(text: str | None) -> str | None:
    return text.replace("\0", "\ufffd") if text else text
