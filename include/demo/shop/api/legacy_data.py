"""Fills the shop from the demo's legacy retail tables, so that both tell of the same customers.

Rows are mappings by the legacy columns' names: dictionaries from psycopg or records of the data frames
of ``demo.legacy.frames``. Headers and lines come in the order of BASKET_ID. Lines without a header
have no order that could show them; they are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from demo.shop.api.answers import dumped
from demo.shop.api.generate import FISCAL
from demo.shop.api.store import Store
from demo.shop.api.timestamps import text_of

Rows = Iterable[Mapping[str, Any]]

_TILL = ZoneInfo("America/New_York")
_PAYMENTS = {"CA": "cash", "CC": "card", "CK": "cheque"}


def fill_from_legacy(
    store: Store, *, customers: Rows, products: Rows, headers: Rows, lines: Rows
) -> Store:
    """Fill an empty store from CUST_MASTER, PROD_MASTER, TXN_HDR and TXN_LINE, one row at a time."""
    store.insert("customers", map(_customer, customers))
    store.insert("products", map(_product, products))
    store.insert("orders", _orders(headers, lines))
    return store


def _customer(row: Mapping[str, Any]) -> tuple[Any, ...]:
    last, _, first = str(row["Cust_Name"]).partition(",")
    street, _, city = (_text(row["ADDR_TXT"]) or "").partition("\n")
    created, updated = _moment(row["CRT_TS"]), _moment(row["UPD_TS"])
    number = int(row["HSHD_NO"])
    body = {
        "id": number,
        "number": f"C{number:07d}",
        "name": " ".join(f"{first} {last}".split()).title(),
        "email": (_text(row["EMAIL_ADDR"]) or "").lower() or None,
        "phone": _text(row["PHONE_NO"]),
        "marketing_consent": row["MAIL_FLG"] == "Y",
        "country": "US",
        "address": {
            "street": street,
            "city": city or None,
            "postal_code": _text(row["POST_CD"]),
            "country": "US",
            "geo": None,
        },
        "created_at": created,
        "updated_at": updated,
    }
    return number, created, updated, dumped(body).decode()


def _product(row: Mapping[str, Any]) -> tuple[Any, ...]:
    number = int(row["PROD_ID"])
    # The price list knows no dates: all products are as old as the shop.
    since = text_of(datetime(2016, 1, 1, tzinfo=UTC))
    attributes = row["ATTR_JS"]
    body = {
        "id": number,
        "sku": f"SKU-{number}",
        "name": _text(row["TYPE_NM"]) or row["DEPT_NM"],
        "category": _text(row["CATG_NM"]),
        "price": str(row["LIST_PRC"]).replace(".", "").replace(",", "."),
        "attributes": json.loads(attributes) if isinstance(attributes, str) else attributes,
        "created_at": since,
        "updated_at": since,
    }
    return number, since, since, dumped(body).decode()


def _orders(headers: Rows, lines: Rows) -> Iterator[tuple[Any, ...]]:
    baskets = groupby(lines, key=lambda line: int(line["BASKET_ID"]))
    basket, sold = next(baskets, (None, iter(())))
    for header in headers:
        number = int(header["BASKET_ID"])
        while basket is not None and basket < number:
            basket, sold = next(baskets, (None, iter(())))
        yield _order(header, list(sold) if basket == number else [])


def _order(header: Mapping[str, Any], sold: list[Mapping[str, Any]]) -> tuple[Any, ...]:
    number, customer = int(header["BASKET_ID"]), int(header["HSHD_NO"])
    created, updated = _moment(header["TXN_TS"]), _moment(header["REG_TS"])
    body = {
        "id": number,
        "number": f"SO-{number}",
        "customer_id": customer,
        "status": "delivered",
        "total": _money(sum(int(line["SALES_CENTS"]) for line in sold)),
        "currency": "USD",
        "created_at": created,
        "updated_at": updated,
        "fiscal_id": FISCAL + 2 * number,
        "note": None,
        "shipping_address": None,
        "store": str(header["STORE_CD"]).strip(),
        "payment": _PAYMENTS.get(header["PAY_CD"]),
        "tags": ["till"],
        "lines": [_line(number, line) for line in sold],
    }
    return number, created, updated, dumped(body).decode(), customer, "delivered"


def _line(order: int, line: Mapping[str, Any]) -> dict[str, Any]:
    place, product = int(line["LINE_NO"]), int(line["PROD_ID"])
    return {
        "id": order * 1000 + place,
        "number": place,
        "product_id": product,
        "sku": f"SKU-{product}",
        "quantity": int(line["QTY"]),
        "amount": _money(int(line["SALES_CENTS"])),
    }


def _money(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _text(value: Any) -> str | None:
    """A text without blanks around it; None for an empty one and for a frame's missing value."""
    return (value.strip() or None) if isinstance(value, str) else None


def _moment(value: Any) -> str:
    """A datetime or its text; what has no zone is the wall clock of the tills."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return text_of(moment if moment.tzinfo else moment.replace(tzinfo=_TILL))
