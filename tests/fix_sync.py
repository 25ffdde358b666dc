"""A sync of the shop's API into a database, run without Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests

from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.engine.sync_run import run_sync
from sinew.engine.windows import EntityRows
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.kit_api import ApiSession

TARGET = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    order_id bigint PRIMARY KEY, number text NOT NULL UNIQUE, customer_id bigint NOT NULL, status text NOT NULL,
    total numeric(12, 2) NOT NULL, fiscal_id bigint, city text, address jsonb, updated_at timestamptz NOT NULL,
    deleted_at timestamptz);
CREATE TABLE shop.lines (
    order_id bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE, line_no integer NOT NULL, sku text NOT NULL, quantity integer NOT NULL,
    amount numeric(12, 2) NOT NULL, PRIMARY KEY (order_id, line_no));
"""

MAPPING = """
sync: shop_orders
source: {api: shop_api}
target: {conn: commerce, schema: shop}
resources:
  orders:
    path: /orders
    params: {style: cursor}
    records: $.data[*]
    key: [$.id]
    pagination: {style: cursor, next: $.meta.next_cursor, parameter: cursor, size: 100, size_parameter: limit}
    incremental: {by: window, from_parameter: updated_from, to_parameter: updated_to}
entities:
  orders:
    from: {resource: orders}
    fields: {city: $.shipping_address.city, address: {path: $.shipping_address, type: json}}
    key: [id]
    watermark: {column: updated_at}
    columns:
      order_id: {key: copy, do: [{cast: bigint}]}
      number: {from: number}
      customer_id: {from: customer_id, do: [{cast: bigint}]}
      status: {from: status}
      total: {from: total, do: [{cast: "numeric(12, 2)"}]}
      fiscal_id: {from: fiscal_id, do: [{cast: bigint}]}
      city: {from: city}
      address: {from: address}
      updated_at: {from: updated_at, do: [{cast: timestamptz}]}
  lines:
    from: {resource: orders, records: "$.lines[*]", parent: {order_id: $.id, changed: $.updated_at}}
    key: [order_id, number]
    target_key: [order_id, line_no]
    watermark: {column: changed}
    columns:
      order_id: {ref: orders, by: order_id}
      line_no: {from: number, do: [{cast: integer}]}
      sku: {from: sku}
      quantity: {from: quantity, do: [{cast: integer}]}
      amount: {from: amount, do: [{cast: "numeric(12, 2)"}]}
"""


@contextmanager
def api_session(url: str) -> Iterator[requests.Session]:
    with ApiSession(url) as session:
        yield session


@dataclass
class SyncCase:
    """A sync's mapping as text, its API's address and its home database."""

    url: str
    home: str
    text: str = MAPPING
    source: str | None = None

    def context(self, **replaced: str) -> Context:
        text = self.text
        for old, new in replaced.items():
            text = text.replace(old, new)
        sync = parse_mapping(text, kind=Sync)
        return Context(
            sync,
            Endpoint("source", self.source or self.home),
            Endpoint("commerce", self.home),
            open_api=partial(api_session, self.url),
        )

    def run(
        self, lower: str | None, upper: str, run_id: str | None = None, **asked: Any
    ) -> dict[str, EntityRows]:
        from_ = datetime.fromisoformat(lower) if lower else None
        return run_sync(
            self.context(), from_, datetime.fromisoformat(upper), run_id or str(uuid4()), **asked
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.home) as conn:
            return conn.execute(query, values or None).fetchall()


@pytest.fixture
def sync_case(home: psycopg.Connection, home_db: str, changing_shop: Any) -> SyncCase:
    """300 orders of the shop's API, and an empty database for them."""
    home.execute(TARGET)
    home.commit()
    return SyncCase(changing_shop.url, home_db)


def write_include(folder: Path, text: str) -> None:
    """An include folder that holds one sync."""
    (folder / "mappings" / "syncs").mkdir(parents=True)
    (folder / "mappings" / "syncs" / "shop_orders.yaml").write_text(text, encoding="utf-8")
