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

import msgspec
import psycopg
from psycopg import sql

from sinew.api.delivering import deliver_parcels
from sinew.api.documents import compact
from sinew.api.outgoing import OutRow, Receipt
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.receipt_sql import keep_receipts, mark_sending
from sinew.engine.batch import Batch, hold_still
from sinew.engine.changes import Change, delivery_of, regrouped, repeatable
from sinew.errors import MismatchError
from sinew.spec.delivery import CHANGES, Delivery

if TYPE_CHECKING:
    import requests

# Receipts that may share a transaction where a repeat does no harm, and how long the first of them waits.
_SHARING, _PATIENCE_S = 50, 0.2
# Rows that are noted as on their way at once; so many are in doubt at most when a task dies.
_NOTED = 500


@dataclass
class Courier:
    """Sends one batch's changes over one session; not for threads."""

    home: psycopg.Connection
    session: requests.Session
    plan: EntityPlan
    batch: Batch
    _out: dict[str, tuple[Change, str]] = field(default_factory=dict)
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
        looked_up = any(regrouped(self.delivery, kind) for kind in CHANGES)
        noted = _NOTED if safe and not looked_up else self._smallest()
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
            self._out[change.key] = change, change.idempotency_key(self.plan)
            self._hold([receipt])
        self._keep()

    def _smallest(self) -> int:
        bulk = self.delivery.bulk
        return self.delivery.limits.concurrency * (bulk.size if bulk else 1)

    def _noted(self, changes: Iterator[Change], at_once: int) -> Iterator[OutRow]:
        while some := list(islice(changes, at_once)):
            self._note(some)
            for change in some:
                row = change.out(self.plan)
                self._out[change.key] = change, row.idempotency_key
                yield row

    def _note(self, changes: Sequence[Change]) -> None:
        told = [
            {"entry": msgspec.Raw(c.entry.encode()), "change": c.kind, "version": c.version}
            for c in changes
        ]
        statement = mark_sending(self.plan, self.batch.id, self.batch.attempt)
        self._write(statement, {"changes": compact(told).decode()}, len(told))

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
        told = [_told(receipt, *self._out.pop(str(receipt.key))) for receipt in held]
        statement = keep_receipts(self.plan, self.batch.id, self.batch.attempt)
        self._write(statement, {"receipts": compact(told).decode()}, len(told))

    def _write(self, statement: sql.Composed, parameters: dict[str, str], rows: int) -> None:
        """One statement, one transaction: it writes all of its rows, or none because the batch is not ours."""
        with self.home.transaction():
            written = self.home.execute(statement, parameters).rowcount
            if written != rows:
                hold_still(self.home, self.batch)
                raise MismatchError(
                    f"load {self.batch.title}: {rows} rows were to be followed in the row ledger, but {written} "
                    "were: has somebody changed it meanwhile?"
                )


def _told(receipt: Receipt, change: Change, idempotency_key: str) -> dict[str, object]:
    # Of a repeat, the answer settles what was in doubt as well.
    doubt = change.sending if not change.repeats else None
    return {
        "key": msgspec.Raw(change.key.encode()),
        "entry": msgspec.Raw(change.entry.encode()),
        "version": change.version,
        "change": change.kind,
        "idempotency_key": idempotency_key,
        "status": receipt.status,
        "http_status": receipt.http_status,
        "remote_id": _storable(receipt.remote_id),
        "code": _storable(receipt.code),
        "error": _storable(receipt.error),
        "attempts": receipt.attempts,
        "sent_at": receipt.sent_at,
        "doubt": doubt,
        "doubt_version": change.sending_version if doubt else None,
    }


def _storable(text: str | None) -> str | None:
    """Without what Postgres cannot hold."""
    if not text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
