"""Look rows up at the API and compare them with what was sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import requests

from sinew.api.documents import compact, read_document
from sinew.api.filling import UnfitError, fill_params, fill_path
from sinew.api.jsonpaths import MISSING, query
from sinew.api.outgoing import OutRow
from sinew.api.pace import Stop
from sinew.api.transport import Call, Policy, policy_of, send, successful
from sinew.errors import ConfigurationError
from sinew.spec.delivery import Delivery, ReadBack

_GONE = (404, 410)


@dataclass(frozen=True)
class Comparison:
    """What the API has of a row: whether it has it, and the columns in which it differs (never their values)."""

    key: Hashable
    version: Any
    found: bool
    differing: tuple[str, ...] = ()
    expected: bool = True

    @property
    def agrees(self) -> bool:
        """Whether the API has what was sent; of a deleted row, nothing."""
        return self.found is self.expected and not self.differing


def read_back(
    session: requests.Session,
    delivery: Delivery,
    rows: Iterable[OutRow],
    *,
    stop_requested: Stop | None = None,
) -> Iterator[Comparison]:
    """A comparison for each row, in the order of the rows; limits.concurrency at once."""
    if delivery.read_back is None:
        raise ConfigurationError(
            "the delivery does not say how a row is looked up: write `read_back`"
        )
    looked_up, policy = delivery.read_back, policy_of(session, delivery, stop_requested)
    limit = delivery.limits.concurrency
    waiting: deque[Future[Comparison]] = deque()
    with ThreadPoolExecutor(limit, thread_name_prefix="sinew read back") as pool:
        try:
            for row in rows:
                if len(waiting) >= limit:
                    yield waiting.popleft().result()
                waiting.append(
                    pool.submit(_compare, session, looked_up, delivery.headers, row, policy)
                )
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _compare(
    session: requests.Session,
    look_up: ReadBack,
    headers: Mapping[str, str],
    row: OutRow,
    policy: Policy,
) -> Comparison:
    expected = row.change != "delete"
    try:
        call = Call(
            "GET",
            fill_path(look_up.path, row.fields()),
            f"GET {look_up.path}",
            fill_params(look_up.params, row.fields()),
            headers,
        )
    except UnfitError:
        # Such a row was never sent either.
        return Comparison(row.key, row.version, False, expected=False)
    answer = send(session, call, policy, lambda status: successful(status) or status in _GONE)
    root = answer.document.root if answer.document else None
    record = query(look_up.record).first(root) if answer.status not in _GONE else None
    if record is MISSING or record is None or record == []:
        return Comparison(row.key, row.version, False, expected=expected)
    differing = _differing(look_up, row, record) if expected else ()
    return Comparison(row.key, row.version, True, differing, expected)


def _differing(look_up: ReadBack, row: OutRow, record: Any) -> tuple[str, ...]:
    names = []
    for name, path in look_up.compare.items():
        if name not in row.values:
            given = ", ".join(sorted(row.values))
            raise ConfigurationError(
                f"`read_back.compare` names the column {name!r}, which the row has not; allowed: {given}"
            )
        theirs = query(path).first(record)
        if not same(row.values[name], None if theirs is MISSING else theirs):
            names.append(name)
    return tuple(names)


def same(ours: Any, theirs: Any) -> bool:
    """Whether a value of a row and one of an answer mean the same.

    Numbers are compared as numbers, also where one of them was written as a text; moments with an offset as
    moments; missing is null.
    """
    return _same(read_document(compact(ours)).root, theirs)


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, bool) or isinstance(theirs, bool) or ours is None or theirs is None:
        return ours is theirs
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return ours.keys() == theirs.keys() and all(_same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if isinstance(ours, str) and isinstance(theirs, str):
        return ours == theirs or _moments_agree(ours, theirs)
    numbers = [_number(ours), _number(theirs)]
    return None not in numbers and numbers[0] == numbers[1]


def _number(value: Any) -> Decimal | None:
    if not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _moments_agree(ours: str, theirs: str) -> bool:
    moments: Sequence[datetime | None] = [_moment(ours), _moment(theirs)]
    return moments[0] is not None and moments[0] == moments[1]


def _moment(text: str) -> datetime | None:
    if len(text) < 20:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
