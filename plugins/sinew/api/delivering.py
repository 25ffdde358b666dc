"""Send rows to an API and hand back a receipt for each, as soon as it is known."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import requests

from sinew.api.outgoing import OutRow, Receipt
from sinew.api.pace import Stop
from sinew.api.sending import Parcel, Sender
from sinew.api.transport import policy_of
from sinew.errors import InterruptedStepError
from sinew.spec.delivery import ChangeKind, Delivery


def deliver(
    session: requests.Session,
    delivery: Delivery,
    rows: Iterable[OutRow],
    *,
    stop_requested: Stop | None = None,
) -> Iterator[Receipt]:
    """The receipts of the rows, in the order in which they become known.

    Rows are drawn as they are needed. No more requests than limits.concurrency are ever out without a
    receipt that was handed over, and the next goes out only when the receipts before it were taken: commit
    each (or each few) before asking for the next, and a crash leaves at most that many requests without.
    Two versions of one key never overtake each other.

    When a request fails for a reason that is not its rows' (and when ``rows`` itself raises), nothing more is
    sent, the receipts of what is under way are handed over, and then the error is raised.
    """
    for receipts in deliver_parcels(session, delivery, rows, stop_requested=stop_requested):
        yield from receipts


def deliver_parcels(
    session: requests.Session,
    delivery: Delivery,
    rows: Iterable[OutRow],
    *,
    stop_requested: Stop | None = None,
) -> Generator[list[Receipt]]:
    """The same, all receipts of one request's rows at once.

    Whoever commits them together finds the same rows in the same requests after a crash, and so the same
    idempotency keys.
    """
    policy = policy_of(session, delivery, stop_requested)
    sender = Sender(session, delivery, policy)
    parcels = parcels_of(delivery, rows)
    limit = delivery.limits.concurrency
    with ThreadPoolExecutor(limit, thread_name_prefix="sinew deliver") as pool:
        yield from _Window(pool, sender, parcels, limit, stop_requested).receipts()


class _Window:
    """The requests that are out."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        sender: Sender,
        parcels: Iterator[Parcel],
        limit: int,
        stop: Stop | None,
    ) -> None:
        self._pool, self._sender, self._parcels = pool, sender, parcels
        self._limit, self._stop = limit, stop
        self._out: dict[Future[list[Receipt]], Parcel] = {}
        self._held: Parcel | None = None
        self._failure: BaseException | None = None

    def receipts(self) -> Iterator[list[Receipt]]:
        """Keep the window full and empty it, until nothing is left."""
        self._fill()
        while self._out:
            done, _ = wait(self._out, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    receipts = future.result()
                except BaseException as error:
                    self._failure = self._failure or error
                    receipts = []
                # It counts as out until its receipts were taken.
                if receipts:
                    yield receipts
                del self._out[future]
            self._fill()
        if self._failure is not None:
            raise self._failure

    def _fill(self) -> None:
        while self._failure is None and len(self._out) < self._limit:
            if self._stop is not None and self._stop():
                self._failure = InterruptedStepError("stopped as asked, between two rows")
                return
            parcel = self._held or self._draw()
            if parcel is None:
                return
            busy = {row.key for out in self._out.values() for row in out.rows}
            self._held = parcel if any(row.key in busy for row in parcel.rows) else None
            if self._held is not None:
                return
            self._out[self._pool.submit(self._sender.send, parcel)] = parcel

    def _draw(self) -> Parcel | None:
        try:
            return next(self._parcels, None)
        except Exception as error:
            self._failure = error
            return None


def parcels_of(delivery: Delivery, rows: Iterable[OutRow]) -> Iterator[Parcel]:
    """The rows in the requests in which they go out: full ones of a kind, or one row each.

    A row goes out after all earlier ones of its key.
    """
    size = delivery.bulk.size if delivery.bulk else 1
    open_: dict[ChangeKind, list[OutRow]] = {}
    keys: set[Hashable] = set()
    for row in rows:
        if row.key in keys:
            yield from _closed(open_)
            open_, keys = {}, set()
        if not delivery.in_bulk(row.change):
            yield Parcel((row,), together=False)
            continue
        gathered = open_.setdefault(row.change, [])
        gathered.append(row)
        keys.add(row.key)
        if len(gathered) == size:
            del open_[row.change]
            keys -= {one.key for one in gathered}
            yield Parcel(tuple(gathered), together=True)
    yield from _closed(open_)


def _closed(open_: dict[ChangeKind, list[OutRow]]) -> Iterator[Parcel]:
    for gathered in open_.values():
        yield Parcel(tuple(gathered), together=True)
