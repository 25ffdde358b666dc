"""APIs: reading one against a loop that only counts records, and sending to one against a loop that only sends.

The server is a process of its own, as a real one is, and the same in both; it takes most of the time. Each bare loop
is run before and after ours, because a busy machine does not stay equally busy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urljoin
from uuid import uuid4

import psycopg
import requests

from demo.shop.api import ShopProcess, Size
from sinew.engine.planner import prepare
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context, run_step
from sinew.engine.windows import plan_window
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.bench.table import forget

ORDERS, PAGE = 50_000, 500
CONTACTS, BULK = 5_000, 100

EXTRACT = """
sync: bench_orders
source: {api: shop_api}
target: {conn: commerce, schema: bench}
resources:
  orders:
    path: /orders
    params: {style: cursor}
    records: $.data[*]
    key: [$.id]
    pagination: {style: cursor, next: $.meta.next_cursor, parameter: cursor, size: 500, size_parameter: limit}
entities:
  api_orders:
    from: {resource: orders}
    key: [id]
    columns:
      id: {key: copy, do: [{cast: bigint}]}
      number: {from: number}
      total: {from: total, do: [{cast: "numeric(12, 2)"}]}
"""
DELIVER = """
sync: bench_contacts
source: {conn: commerce, schema: bench}
target: {api: marketing_api}
entities:
  contacts:
    from: api_contacts
    key: [external_id]
    columns:
      external_id: {key: copy}
      email: {from: email}
      full_name: {from: full_name}
    deliver:
      create: {method: POST, path: PATH}
      idempotency_header: Idempotency-Key
"""
IN_BULK = '      bulk: {size: 100, envelope: {contacts: "{rows}"}, results: "$.results[*]", status: $.status}\n'
TABLES = """
CREATE SCHEMA IF NOT EXISTS bench;
DROP TABLE IF EXISTS bench.api_orders, bench.api_contacts;
CREATE TABLE bench.api_orders (id bigint PRIMARY KEY, number text NOT NULL, total numeric(12, 2) NOT NULL);
CREATE TABLE bench.api_contacts (external_id text PRIMARY KEY, email text NOT NULL, full_name text NOT NULL);
"""


class _Session(requests.Session):
    """A session whose requests leave out the server's address."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.base_url = base_url

    def request(self, method, url, *args, **kwargs):  # type: ignore[no-untyped-def]
        return super().request(method, urljoin(self.base_url, url), *args, **kwargs)


@contextmanager
def _open(url: str) -> Iterator[requests.Session]:
    with _Session(url) as session:
        yield session


def measure(conninfo: str) -> dict[str, float]:
    """All figures; ratios are ours against the bare loop, 1 meaning as fast."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        forget(conn)
        conn.execute(TABLES)
        conn.cursor().executemany(
            "INSERT INTO bench.api_contacts VALUES (%s, %s, %s)", list(_contacts())
        )
    home = Endpoint("commerce", conninfo)
    with ShopProcess(Size(orders=ORDERS)) as shop:
        figures = _extract(shop, home)
        figures |= _deliver(shop, home, "api_deliver", bulk=False)
        figures |= _deliver(shop, home, "api_deliver_bulk", bulk=True)
    return figures


def _extract(shop: ShopProcess, home: Endpoint) -> dict[str, float]:
    before = _count(shop.url)
    ours = _step(_context(EXTRACT, shop.url, home), "api_orders", before="", step="extract")
    bare = (before + _count(shop.url)) / 2
    return _told("api_extract", "records", ORDERS, bare, ours)


def _count(url: str) -> float:
    """Seconds in which a plain loop counts all records."""
    began, count, cursor = time.monotonic(), 0, None
    with requests.Session() as session:
        while True:
            params = {"style": "cursor", "limit": PAGE} | ({"cursor": cursor} if cursor else {})
            page = session.get(f"{url}/orders", params=params).json()
            count += len(page["data"])
            cursor = page["meta"].get("next_cursor")
            if cursor is None:
                break
    assert count == ORDERS
    return time.monotonic() - began


def _deliver(shop: ShopProcess, home: Endpoint, name: str, *, bulk: bool) -> dict[str, float]:
    path = "/contacts/bulk" if bulk else "/contacts"
    text = DELIVER.replace("PATH", path) + (IN_BULK if bulk else "")
    send = _send_in_bulk if bulk else _send
    _clear(shop)
    before = send(shop.url)
    _clear(shop)
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        forget(conn)
    ours = _step(_context(text, shop.url, home), "contacts", before="check", step="load")
    assert shop.store.value("SELECT count(*) FROM contacts") == CONTACTS
    _clear(shop)
    bare = (before + send(shop.url)) / 2
    return _told(name, "rows", CONTACTS, bare, ours)


def _contacts() -> Iterator[tuple[str, str, str]]:
    return ((f"c{i}", f"c{i}@shop.example", f"Name {i}") for i in range(CONTACTS))


def _bodies() -> list[dict[str, str]]:
    return [
        dict(zip(("external_id", "email", "full_name"), row, strict=True)) for row in _contacts()
    ]


def _send(url: str) -> float:
    """Seconds in which a plain loop sends all rows, one after another."""
    began = time.monotonic()
    with requests.Session() as session:
        for body in _bodies():
            answer = session.post(
                f"{url}/contacts", json=body, headers={"Idempotency-Key": str(uuid4())}
            )
            assert answer.status_code == 201
    return time.monotonic() - began


def _send_in_bulk(url: str) -> float:
    """The same, as many rows in a request as ours sends."""
    bodies, began = _bodies(), time.monotonic()
    with requests.Session() as session:
        for i in range(0, len(bodies), BULK):
            body = json.dumps({"contacts": bodies[i : i + BULK]})
            headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
            answer = session.post(f"{url}/contacts/bulk", data=body, headers=headers)
            assert answer.status_code == 200
    return time.monotonic() - began


def _clear(shop: ShopProcess) -> None:
    with shop.store.writing() as connection:
        for table in ("contacts", "contact_change", "request_log", "answer"):
            connection.execute(f"DELETE FROM {table}")


def _context(text: str, url: str, home: Endpoint) -> Context:
    return Context(parse_mapping(text, kind=Sync), home, home, open_api=partial(_open, url))


def _step(context: Context, entity: str, before: str, step: str) -> float:
    """Seconds of one step, after all that comes before it."""
    prepare(context)
    batch = plan_window(context, None, datetime.now(UTC), "bench")[entity]
    if before:
        run_step(context, batch, before)
    began = time.monotonic()
    run_step(context, batch, step)
    return time.monotonic() - began


def _told(name: str, what: str, count: int, bare: float, ours: float) -> dict[str, float]:
    print(f"{name + ', bare loop':<28} {count / bare:>10,.0f} {what}/s")
    print(
        f"{name:<28} {count / ours:>10,.0f} {what}/s, {bare / ours:.2f} of the bare loop",
        flush=True,
    )
    return {
        f"{name}_bare_per_s": count / bare,
        f"{name}_per_s": count / ours,
        f"{name}_ratio": bare / ours,
    }
