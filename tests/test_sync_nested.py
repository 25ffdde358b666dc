"""Entities of nested arrays, when the record around them comes more than once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.fix_sync import SyncCase
from tests.kit_api import Asked, Reply, serving

MAPPING = """
sync: orders
source: {api: shop_api}
target: {conn: commerce, schema: shop}
resources:
  orders:
    path: /orders
    records: $.data[*]
    key: [$.id]
    pagination: {style: cursor, next: $.next, parameter: cursor}
entities:
  lines:
    from: {resource: orders, records: "$.lines[*]", parent: {order_id: $.id}}
    key: [order_id, number]
    target_key: [order_id, number]
    columns:
      order_id: {from: order_id, do: [{cast: bigint}]}
      number: {from: number, do: [{cast: integer}]}
      sku: {from: sku}
"""
TARGET = """
CREATE SCHEMA shop;
CREATE TABLE shop.lines (order_id bigint, number integer, sku text, PRIMARY KEY (order_id, number));
"""


def order(id_: Any, *skus: str) -> dict[str, Any]:
    return {"id": id_, "lines": [{"number": i, "sku": sku} for i, sku in enumerate(skus, start=1)]}


# Order 1 changed while the list was read, and moved to a later page: one of its lines was taken off.
PAGES = [[order(1, "a", "b", "c"), order(2, "d")], [order(3, "e"), order(1, "a", "x")]]


def answer(asked: Asked) -> Reply:
    at = int(asked.query.get("cursor", 0))
    return Reply({"data": PAGES[at], "next": at + 1 if at + 1 < len(PAGES) else None})


class TestARecordThatComesTwice:
    @pytest.mark.parametrize("key", ["    key: [$.id]\n", ""])
    def test_brings_the_elements_of_its_last_version_alone(
        self, key: str, home: psycopg.Connection, home_db: str
    ) -> None:
        home.execute(TARGET)
        home.commit()
        with serving(answer) as (server, _):
            case = SyncCase(server.url, home_db, MAPPING.replace("    key: [$.id]\n", key))
            done = case.run(None, datetime.now(UTC).isoformat())
        assert case.rows("SELECT order_id, number, sku FROM shop.lines ORDER BY 1, 2") == [
            (1, 1, "a"),
            (1, 2, "x"),
            (2, 1, "d"),
            (3, 1, "e"),
        ]
        assert done["lines"].read == 4
        assert case.rows("SELECT repeated_rows FROM sinew.batch") == [(3,)]
