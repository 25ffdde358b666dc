"""Made-up shop data of any size, the same for the same seed: awkward on purpose, as real data is.

Ties in ``updated_at``, moments on the stroke of midnight, nulls, members that are missing, names in
many scripts, numbers with a trailing zero (``8.250``) and integers that a float cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from demo.shop.api.store import Store

# The first odd number above 2^53: read as a float it becomes even.
FISCAL = 2**53 + 1
STATUSES = ("pending", "paid", "packed", "shipped", "delivered", "cancelled", "refunded")
CURRENCIES = ("USD", "USD", "USD", "EUR", "JPY")
NAMES = (
    "Ada Lovelace",
    "Zoë Müller-Łukasiewicz",
    "Seán Ó Súilleabháin",
    "Nguyễn Thị Hương",
    "李小龍",
    "さくら 山田",
    "محمد علي",
    "Ольга Петрова",
    'Joe "Tap" O\'Brien',
    "Ñusta   Quispe",
    "𝒢race Hopper",
    "Jose\u0301 Garci\u0301a",  # decomposed accents: not the same text as the composed ones
)
NOTES = (
    None,
    None,
    None,
    "",
    "Leave it at the door.",
    "Ring twice,\nthen wait.\tThank you",
    "🎁 gift – 50 % off\\today",
    "Grüße aus Köln",
)
STREETS = ("High St", "Rue de l’Église", "Łódzka", "O'Connell Street", "中山路", "Hauptstraße")
CITIES = ("Springfield", "Montréal", "Warszawa", "Dublin", "台北", "Zürich")
COUNTRIES = ("US", "CA", "PL", "IE", "TW", "CH")
CATEGORIES = ("grocery", "produce", "dairy", "household", "frozen")
_CHUNK = 20_000
_DAY = np.timedelta64(1, "D")


def _texts(values: tuple[str | None, ...]) -> list[str]:
    return [json.dumps(value, ensure_ascii=False) for value in values]


_NAMES, _NOTES, _STREETS, _CITIES = map(_texts, (NAMES, NOTES, STREETS, CITIES))


@dataclass(frozen=True)
class Size:
    """How much to make: orders, and the days from ``start`` (UTC midnight) that they are spread over."""

    orders: int = 2_000
    start: str = "2026-01-01"
    days: int = 90
    seed: int = 1

    @property
    def customers(self) -> int:
        """One customer for eight orders, at least twenty."""
        return max(20, self.orders // 8)

    @property
    def products(self) -> int:
        """One product for twenty orders, between 40 and 5,000."""
        return min(5_000, max(40, self.orders // 20))


def fill(store: Store, size: Size | None = None) -> Store:
    """Fill an empty store; 200,000 orders take some seconds."""
    size = size or Size()
    store.insert("customers", _customers(size))
    store.insert("products", _products(size))
    store.insert("orders", _orders(size))
    return store


class _Moments:
    """When the records of a chunk were created and last changed, as texts."""

    def __init__(
        self, draw: np.random.Generator, size: Size, first: int, count: int, of: int
    ) -> None:
        start = np.datetime64(size.start, "us")
        span = size.days * 86_400 * 10**6
        # Records come in the order of their numbers, each somewhere within its share of the time.
        at = (np.arange(first, first + count) + draw.random(count)) * (span / of)
        created = start + at.astype("timedelta64[us]")
        created = np.where(np.arange(count) % 101 == 0, created.astype("datetime64[D]"), created)
        kind = draw.random(count)
        later = created + (draw.random(count) * 10 * 86_400 * 10**6).astype("timedelta64[us]")
        # A nightly job changes many records at one and the same instant.
        nightly = created.astype("datetime64[D]") + _DAY + np.timedelta64(2, "h")
        last = start + np.timedelta64(span - 1, "us")
        changed = np.where(kind < 0.5, created, np.where(kind < 0.9, later, nightly))
        self.created = _rfc3339(created)
        self.updated = _rfc3339(np.minimum(changed, last))


def _rfc3339(moments: np.ndarray) -> list[str]:
    return [f"{text}Z" for text in np.datetime_as_string(moments.astype("datetime64[us]")).tolist()]


def _customers(size: Size) -> Iterator[tuple[Any, ...]]:
    count, draw = size.customers, np.random.default_rng([size.seed, 1])
    moments = _Moments(draw, size, 0, count, count)
    mixed = draw.integers(0, 2**31, count).tolist()
    for index, mix in enumerate(mixed):
        number = index + 1
        created, updated = moments.created[index], moments.updated[index]
        phone = "null" if mix % 5 == 0 else f'"+1 555 {mix % 10**7:07d}"'
        birthday = (
            ""
            if mix % 3
            else f',"birthday":"{1940 + mix % 60}-{1 + mix % 12:02d}-{1 + mix % 28:02d}"'
        )
        body = (
            f'{{"id":{number},"number":"C{number:07d}","name":{_NAMES[mix % len(_NAMES)]},'
            f'"email":"customer.{number}@example.com","phone":{phone},'
            f'"marketing_consent":{"true" if mix % 2 else "false"},"country":"{COUNTRIES[mix % 6]}",'
            f'"lifetime_value":"{mix % 900_000 / 100:.2f}","address":{_address(mix)},'
            f'"created_at":"{created}","updated_at":"{updated}"{birthday}}}'
        )
        yield number, created, updated, body


def _products(size: Size) -> Iterator[tuple[Any, ...]]:
    count, draw = size.products, np.random.default_rng([size.seed, 2])
    moments = _Moments(draw, size, 0, count, count)
    for index, mix in enumerate(draw.integers(0, 2**31, count).tolist()):
        number = index + 1
        created, updated = moments.created[index], moments.updated[index]
        body = (
            f'{{"id":{number},"sku":"SKU-{number:05d}","name":"Product {number} – {CATEGORIES[mix % 5]}",'
            f'"category":"{CATEGORIES[mix % 5]}","price":"{_price(number)}","weight_kg":{_weight(number)},'
            f'"attributes":{{"organic":{"true" if mix % 9 == 0 else "false"},"shelf_days":'
            f"{'null' if mix % 7 == 0 else mix % 720}}},"
            f'"created_at":"{created}","updated_at":"{updated}"}}'
        )
        yield number, created, updated, body


def _orders(size: Size) -> Iterator[tuple[Any, ...]]:
    for first in range(0, size.orders, _CHUNK):
        yield from _chunk_of_orders(size, first, min(_CHUNK, size.orders - first))


def _chunk_of_orders(size: Size, first: int, count: int) -> Iterator[tuple[Any, ...]]:
    draw = np.random.default_rng([size.seed, 3, first])
    moments = _Moments(draw, size, first, count, size.orders)
    mixed = draw.integers(0, 2**31, count).tolist()
    customers = draw.integers(1, size.customers + 1, count).tolist()
    picked = draw.integers(1, size.products + 1, (count, 4)).tolist()
    for index, mix in enumerate(mixed):
        number, status = first + index + 1, STATUSES[mix % len(STATUSES)]
        created, updated = moments.created[index], moments.updated[index]
        lines, cents = _lines(number, picked[index][: 1 + mix % 4], mix)
        body = (
            f'{{"id":{number},"number":"SO-{number:08d}","customer_id":{customers[index]},'
            f'"status":"{status}","total":"{cents // 100}.{cents % 100:02d}",'
            f'"currency":"{CURRENCIES[mix % 5]}","created_at":"{created}","updated_at":"{updated}",'
            f'"fiscal_id":{FISCAL + 2 * number},"tax_rate":8.250,"note":{_NOTES[mix % len(_NOTES)]},'
            f'"shipping_address":{"null" if mix % 23 == 0 else _address(mix)},{_sometimes(mix)}'
            f'"tags":{_TAGS[mix % 4]},"lines":[{lines}]}}'
        )
        yield number, created, updated, body, customers[index], status


_GIFT = ',"gift":true'
_TAGS = ("[]", '["web"]', '["web","first order"]', '["shop",null]')


def _sometimes(mix: int) -> str:
    coupon = f'"coupon":"SAVE{mix % 50:02d}",' if mix % 5 == 0 else ""
    # Written with escapes, as many servers do: a lorry, beyond the basic plane.
    return coupon + ('"gift_message":"\\ud83d\\ude9a soon",' if mix % 17 == 0 else "")


def _lines(order: int, products: list[int], mix: int) -> tuple[str, int]:
    """The JSON of an order's lines, and their total in cents."""
    parts, total = [], 0
    for line, product in enumerate(products, start=1):
        quantity = 1 + (mix >> line) % 3
        cents = _cents(product) * quantity
        total += cents
        parts.append(
            f'{{"id":{order * 10 + line},"number":{line},"product_id":{product},'
            f'"sku":"SKU-{product:05d}","quantity":{quantity},"unit_price":"{_price(product)}",'
            f'"amount":"{cents // 100}.{cents % 100:02d}","weight_kg":{_weight(product)}'
            f"{_GIFT if (mix >> line) % 11 == 0 else ''}}}"
        )
    return ",".join(parts), total


def _cents(product: int) -> int:
    return 19 + product * 7919 % 30_000


def _price(product: int) -> str:
    cents = _cents(product)
    return f"{cents // 100}.{cents % 100:02d}"


def _weight(product: int) -> str:
    """Kilograms with three digits, the last of which is often zero."""
    return f"{product % 9}.{product * 37 % 100:02d}0"


def _address(mix: int) -> str:
    place = mix % len(_CITIES)
    geo = f'{{"lat":{mix % 90}.{mix % 1000:03d},"lon":-{mix % 180}.500}}' if mix % 4 else "null"
    return (
        f'{{"street":{_STREETS[place]},"house":"{1 + mix % 400}","city":{_CITIES[place]},'
        f'"postal_code":"{mix % 100_000:05d}","country":"{COUNTRIES[place]}","geo":{geo}}}'
    )
