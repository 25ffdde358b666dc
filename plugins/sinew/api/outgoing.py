"""Rows on their way out: what is sent for them, and what comes back as a receipt."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from sinew.api.documents import compact
from sinew.api.filling import UnfitError, fill_body, fill_params, fill_path
from sinew.api.transport import IDEMPOTENT, Call
from sinew.errors import ConfigurationError
from sinew.spec.delivery import OWN_FIELDS, ROWS, Bulk, Change, ChangeKind, Delivery
from sinew.spec.exchange import fields_in

Outcome = Literal["accepted", "refused", "unknown"]
# Shorter values are in every sentence.
_SHORTEST_HIDDEN = 3


@dataclass(frozen=True)
class OutRow:
    """A row to send: ``values`` are its columns, ``key`` and ``version`` tell it from all others.

    The same key and version always have the same idempotency key.
    """

    key: Hashable
    version: Any
    change: ChangeKind
    values: Mapping[str, Any] = field(repr=False)
    idempotency_key: str

    def fields(self) -> dict[str, Any]:
        """What texts of the mapping may name."""
        own = (self.idempotency_key, self.change, self.version)
        return {**dict(zip(OWN_FIELDS, own, strict=True)), **self.values}

    def hidden(self) -> list[tuple[str, str]]:
        """Column and value of what no message may quote."""
        texts = [(name, str(value)) for name, value in self.values.items() if value is not None]
        return [(name, text) for name, text in texts if len(text) >= _SHORTEST_HIDDEN]


@dataclass(frozen=True)
class Receipt:
    """What became of a row.

    ``accepted``: the API has it. ``refused``: it said no to this row (``code`` and ``error`` say why, without
    the row's values), and will again. ``unknown``: it may have it; look before sending it again.
    ``sent_at`` (UTC) is when it was sent last, or could not be; ``attempts`` how often, 0 for a row that
    no request can be made of.
    """

    key: Hashable
    version: Any
    status: Outcome
    http_status: int | None
    remote_id: str | None
    code: str | None
    error: str | None
    attempts: int
    sent_at: datetime


def idempotency_key(pipeline: str, entity: str, key: Any, version: Any) -> str:
    """A UUID (RFC 9562, version 8) that depends on these four alone."""
    digest = hashlib.sha256(compact([pipeline, entity, key, version])).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF000 << 64) | 0x8000 << 64
    number = number & ~(0xC000 << 48) | 0x8000 << 48
    return str(UUID(int=number))


def as_update(row: OutRow) -> OutRow:
    """A new row as an update: another request, so it needs a key of its own, and always the same one."""
    return replace(
        row,
        change="update",
        idempotency_key=idempotency_key("", "update", row.idempotency_key, None),
    )


def single_call(delivery: Delivery, row: OutRow) -> Call:
    """The request for one row; raises UnfitError for a row that cannot be sent."""
    kind, change = row.change, change_of(delivery, row.change)
    fields = row.fields()
    headers, keyed = _headers(delivery, change, row.idempotency_key)
    repeatable = change.method in IDEMPOTENT or keyed
    body = (
        _encoded(body_of(delivery, change, row))
        if change.body is not None or kind != "delete"
        else None
    )
    if body is not None:
        headers["Content-Type"] = "application/json"
    return Call(
        change.method,
        fill_path(change.path, fields),
        f"{change.method} {change.path}",
        fill_params(change.params, fields),
        headers,
        body,
        repeatable=repeatable,
        # An answer that is sent again is only there for the id that it holds.
        needs_json=repeatable and kind != "delete" and delivery.remote_id is not None,
    )


@dataclass(frozen=True)
class Item:
    """A row of a bulk request, written once."""

    row: OutRow
    text: bytes = field(repr=False)


def item_of(delivery: Delivery, row: OutRow) -> Item:
    """The row as an item; raises UnfitError for a row that cannot be sent."""
    return Item(row, _encoded(body_of(delivery, change_of(delivery, row.change), row)))


def bulk_call(delivery: Delivery, bulk: Bulk, items: Sequence[Item]) -> Call:
    """The request for several rows of one kind."""
    change = change_of(delivery, items[0].row.change)
    headers, keyed = _headers(delivery, change, group_key([item.row for item in items]))
    headers["Content-Type"] = "application/json"
    rows = [msgspec.Raw(item.text) for item in items]
    return Call(
        change.method,
        fill_path(change.path, {}),
        f"{change.method} {change.path} ({len(items)} rows)",
        fill_params(change.params, {}),
        headers,
        _encoded(_wrapped(bulk.envelope, rows)),
        repeatable=change.method in IDEMPOTENT or keyed,
    )


def group_key(rows: Sequence[OutRow]) -> str:
    """The idempotency key of a request that holds these rows and no others."""
    if len(rows) == 1:
        return rows[0].idempotency_key
    return idempotency_key("", "", [row.idempotency_key for row in rows], None)


def change_of(delivery: Delivery, kind: ChangeKind) -> Change:
    """How a kind of change is sent; raises ConfigurationError where it is not declared."""
    change = delivery.change(kind)
    if change is None:
        raise ConfigurationError(
            f"a row is to be sent as {kind!r}, which the delivery does not declare: write `{kind}`, or "
            "leave such rows out"
        )
    return change


def body_of(delivery: Delivery, change: Change, row: OutRow) -> Any:
    """What is sent of a row, as JSON values; raises UnfitError for what JSON cannot say."""
    body = dict(row.values) if change.body is None else fill_body(change.body, row.fields())
    return _sayable(body, "the body", decimals_as_text=delivery.decimals == "text")


def _sayable(value: Any, name: str, decimals_as_text: bool) -> Any:
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise UnfitError(f"{name} is {value}, which JSON cannot say: mend the row")
        return f"{value:f}" if decimals_as_text and isinstance(value, Decimal) else value
    if isinstance(value, Mapping):
        return {k: _sayable(item, str(k), decimals_as_text) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item, name, decimals_as_text) for item in value]
    return value


def _headers(delivery: Delivery, change: Change, key: str) -> tuple[dict[str, str], bool]:
    """The headers, and whether the request carries idempotency keys."""
    headers = dict(delivery.headers)
    in_body = "idempotency_key" in list(fields_in(change.body))
    if delivery.idempotency_header is None:
        return headers, in_body
    return headers | {delivery.idempotency_header: key}, True


def _wrapped(envelope: Any, rows: list[Any]) -> Any:
    if envelope == ROWS:
        return rows
    if isinstance(envelope, Mapping):
        return {key: _wrapped(item, rows) for key, item in envelope.items()}
    if isinstance(envelope, list | tuple):
        return [_wrapped(item, rows) for item in envelope]
    return envelope


def _encoded(body: Any) -> bytes:
    try:
        return compact(body)
    except (TypeError, ValueError) as error:
        # The text of a UnicodeEncodeError quotes what it could not encode.
        what = "an unpaired surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
        raise UnfitError(f"the body cannot be written as JSON ({what}): mend the row") from None
