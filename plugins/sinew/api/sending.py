"""Send one parcel of rows and say what became of each."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import requests

from sinew.api.filling import UnfitError
from sinew.api.outgoing import (
    Item,
    OutRow,
    Receipt,
    as_update,
    bulk_call,
    change_of,
    item_of,
    single_call,
)
from sinew.api.pace import wait_until
from sinew.api.transport import Answer, Call, Policy, send, successful
from sinew.api.verdicts import ROW_STATUSES, Verdict, done_statuses, of_answer, of_results
from sinew.errors import OutcomeUnknownError
from sinew.spec.delivery import Delivery
from sinew.spec.exchange import fields_of


@dataclass(frozen=True)
class Parcel:
    """Rows that go out in one request: several of one kind, or one."""

    rows: tuple[OutRow, ...]
    together: bool


class Sender:
    """Sends parcels of one delivery; threads may share it."""

    def __init__(self, session: requests.Session, delivery: Delivery, policy: Policy) -> None:
        self._session, self._delivery, self._policy = session, delivery, policy

    def send(self, parcel: Parcel) -> list[Receipt]:
        """The receipts of a parcel's rows, in their order.

        Raises what ``send`` of the transport raises, OutcomeUnknownError excepted; then none of the rows
        has a receipt, and each may be sent again with the idempotency key that it has.
        """
        if parcel.together:
            return self._together(parcel.rows)
        return [self._alone(row) for row in parcel.rows]

    # One row.

    def _alone(self, row: OutRow) -> Receipt:
        now = datetime.now(UTC)
        kind, change = row.change, change_of(self._delivery, row.change)
        try:
            call = single_call(self._delivery, row)
        except UnfitError as error:
            return _receipt(row, Verdict("refused", code="unfit", error=str(error)), 0, now)
        done = done_statuses(change, kind)
        named = bool(fields_of(change.path))

        def speaks_of_the_row(status: int) -> bool:
            return _takes(status) or status in done or (status == 404 and named)

        try:
            answer = send(self._session, call, self._policy, speaks_of_the_row)
        except OutcomeUnknownError as error:
            return _receipt(row, _unknown(error), error.attempts, now)
        verdict = of_answer(self._delivery, change, row, answer)
        return self._settled(row, verdict, call, answer)

    def _settled(self, row: OutRow, verdict: Verdict, call: Call, answer: Answer) -> Receipt:
        if verdict.conflict and self._delivery.conflict == "update":
            receipt = self._alone(as_update(row))
            return replace(receipt, attempts=receipt.attempts + answer.attempts)
        if verdict.conflict and answer.attempts > 1:
            # What is there may be what an earlier attempt left, or that attempt is still at work.
            said = "a conflict after the request had been repeated: it may be with itself"
            verdict = replace(verdict, outcome="unknown", error=f"{said} ({verdict.error})")
        return _receipt(row, verdict, answer.attempts, answer.sent_at)

    # Several rows.

    def _together(self, rows: Sequence[OutRow]) -> list[Receipt]:
        receipts: dict[int, Receipt] = {}
        items: dict[int, Item] = {}
        for i, row in enumerate(rows):
            try:
                items[i] = item_of(self._delivery, row)
            except UnfitError as error:
                refused = Verdict("refused", code="unfit", error=str(error))
                receipts[i] = _receipt(row, refused, 0, datetime.now(UTC))
        if items:
            sent = self._in_bulk(list(items.values()), sendings=1)
            receipts |= dict(zip(items, sent, strict=True))
        return [receipts[i] for i in range(len(rows))]

    def _in_bulk(self, items: Sequence[Item], sendings: int) -> list[Receipt]:
        delivery, bulk = self._delivery, self._delivery.bulk
        assert bulk is not None
        call, now = bulk_call(delivery, bulk, items), datetime.now(UTC)
        rows = [item.row for item in items]
        try:
            answer = send(self._session, call, self._policy, _takes)
        except OutcomeUnknownError as error:
            return [_receipt(row, _unknown(error), error.attempts, now) for row in rows]
        verdicts = of_results(delivery, bulk, rows, answer)
        if verdicts is not None:
            return self._each_settled(items, verdicts, call, answer, sendings)
        if successful(answer.status):
            lost = Verdict(
                "unknown", answer.status, error=f"nothing at {bulk.results} in the answer"
            )
            return [_receipt(row, lost, answer.attempts, answer.sent_at) for row in rows]
        if len(items) > 1:
            # Refused as a whole for the sake of some: halved until these are alone.
            middle = len(items) // 2
            return self._in_bulk(items[:middle], 1) + self._in_bulk(items[middle:], 1)
        change = change_of(delivery, rows[0].change)
        verdict = of_answer(delivery, change, rows[0], answer)
        return self._each_settled(items, [verdict], call, answer, sendings)

    def _each_settled(
        self,
        items: Sequence[Item],
        verdicts: Sequence[Verdict],
        call: Call,
        answer: Answer,
        sendings: int,
    ) -> list[Receipt]:
        attempts = answer.attempts + sendings - 1
        receipts = {
            i: _receipt(items[i].row, verdict, attempts, answer.sent_at)
            for i, verdict in enumerate(verdicts)
        }
        again = [i for i, verdict in enumerate(verdicts) if verdict.again]
        if again and call.repeatable and sendings < self._policy.retry.attempts:
            self._pause(sendings)
            sent = self._in_bulk([items[i] for i in again], sendings + 1)
            receipts |= dict(zip(again, sent, strict=True))
        conflicts = [i for i, verdict in enumerate(verdicts) if verdict.conflict]
        if conflicts and self._delivery.conflict == "update":
            updated = self._as_updates([items[i].row for i in conflicts])
            receipts |= dict(zip(conflicts, updated, strict=True))
        return [receipts[i] for i in range(len(items))]

    def _as_updates(self, rows: Sequence[OutRow]) -> list[Receipt]:
        if self._delivery.in_bulk("update"):
            return self._together([as_update(row) for row in rows])
        return [self._alone(as_update(row)) for row in rows]

    def _pause(self, sendings: int) -> None:
        retry = self._policy.retry
        bound = min(retry.longest_delay, retry.first_delay * 2.0 ** (sendings - 1))
        wait_until(time.monotonic() + random.uniform(0, bound), self._policy.stop)


def _takes(status: int) -> bool:
    return successful(status) or status in ROW_STATUSES


def _unknown(error: OutcomeUnknownError) -> Verdict:
    return Verdict("unknown", error.status, error=str(error))


def _receipt(row: OutRow, verdict: Verdict, attempts: int, sent_at: datetime) -> Receipt:
    return Receipt(
        row.key,
        row.version,
        verdict.outcome,
        verdict.http_status,
        verdict.remote_id,
        verdict.code,
        verdict.error,
        attempts,
        sent_at,
    )
