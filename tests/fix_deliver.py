"""A sync of customers in a database to the marketing API, run without Airflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from demo.shop.api import ShopServer
from sinew.engine.planner import prepare
from sinew.engine.session import Endpoint
from sinew.engine.steps import STEPS, Context, run_step
from sinew.engine.sync_run import run_sync
from sinew.engine.windows import EntityRows, complete_window, plan_window
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_sync import api_session

NOW = "2026-06-01T00:00:00+00:00"
SOURCE = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (
    id bigint PRIMARY KEY, email text, full_name text, country text, worth numeric(12, 2), consent boolean,
    updated_at timestamptz NOT NULL DEFAULT '2026-05-01 00:00Z');
"""
# Words in capitals are replaced by tests.
MAPPING = """
sync: contacts
source: {conn: crm, schema: crm}
target: {api: marketing_api}
max_rejects: 0.5
entities:
  contacts:
    from: customers
    key: [id]
    vanished: delete
    columns:
      external_id: {key: copy, from: id, do: [{cast: text}]}
      email: {from: email, pii: true}
      full_name: {from: full_name}
      country: {from: country}
      lifetime_value: {from: worth, do: [{cast: text}]}
      marketing_consent: {from: consent}
      updated: {from: updated_at}
    deliver:
      create: {method: POST, path: /contacts}
      update: {method: PUT, path: "/contacts/{external_id}"}
      delete: {method: DELETE, path: "/contacts/{external_id}"}
      remote_id: $.id
      idempotency_header: Idempotency-Key
      retry: {attempts: 4, first_delay: 0.001, longest_delay: 0.002, longest_wait: 5}
      read_back:
        path: /contacts/{external_id}
        compare:
          {email: $.email, full_name: $.full_name, country: $.country, lifetime_value: $.lifetime_value,
          marketing_consent: $.marketing_consent, updated: $.updated}
"""
BULK = """
      create: {method: POST, path: /contacts/bulk}
      update: {method: POST, path: /contacts/bulk}
      bulk: {size: 20, envelope: {contacts: "{rows}"}, results: "$.results[*]", status: $.status, error: $.error}
"""
SINGLE = """
      create: {method: POST, path: /contacts}
      update: {method: PUT, path: "/contacts/{external_id}"}
"""


@dataclass
class DeliverCase:
    """The mapping as text with what a test replaces in it, the API, and the database that is source and home."""

    shop: ShopServer
    home: str
    replaced: dict[str, str] = field(default_factory=dict)

    def say(self, old: str, new: str) -> None:
        """From now on the mapping says something else."""
        assert old in self.text, old
        self.replaced[old] = new

    @property
    def text(self) -> str:
        """The mapping."""
        text = MAPPING
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return text

    def without(self, start: str, end: str) -> None:
        """From now on the mapping leaves out what stands from one text up to another."""
        begin = self.text.index(start)
        self.say(self.text[begin : self.text.index(end, begin)] if end else self.text[begin:], "")

    def context(self) -> Context:
        """What the steps work with."""
        return Context(
            parse_mapping(self.text, kind=Sync),
            Endpoint("crm", self.home),
            Endpoint("crm", self.home),
            open_api=partial(api_session, self.shop.url),
        )

    def run(
        self, lower: str | None = None, upper: str = NOW, run_id: str | None = None
    ) -> EntityRows:
        """One whole run; what it did to the contacts."""
        from_ = datetime.fromisoformat(lower) if lower else None
        to = datetime.fromisoformat(upper)
        return run_sync(self.context(), from_, to, run_id or str(uuid4()))["contacts"]

    def plan(self, run_id: str | None = None) -> int:
        """Plan a run; the number of its batch."""
        context = self.context()
        prepare(context)
        return plan_window(context, None, datetime.fromisoformat(NOW), run_id or str(uuid4()))[
            "contacts"
        ]

    def step(self, batch: int, step: str) -> None:
        """Bring a batch through a step."""
        run_step(self.context(), batch, step)

    def finish(self, run_id: str, batch: int) -> EntityRows:
        """Bring a batch through all of its steps, and close its run."""
        for step in STEPS:
            self.step(batch, step)
        return complete_window(self.context(), run_id)["contacts"]

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement on the database."""
        with psycopg.connect(self.home, autocommit=True) as conn:
            cursor = conn.execute(query, values or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def fill(self, rows: int) -> None:
        """Customers 1 to ``rows``."""
        self.sql(
            "INSERT INTO crm.customers SELECT i, 'c' || i || '@shop.example', 'Name ' || i, 'DE', i / 4.0, i %% 2 = 0 "
            "FROM generate_series(1, %s) AS i",
            rows,
        )

    def contacts(self) -> dict[str, dict[str, Any]]:
        """What the API has, by external id."""
        found = self.shop.store.rows("SELECT external_id, body FROM contacts")
        return {external_id: json.loads(body) for external_id, body in found}

    def same(self) -> bool:
        """Whether the API has just what the source has."""
        rows = self.sql(
            "SELECT id::text, email, full_name, country, worth::text, consent FROM crm.customers ORDER BY id"
        )
        names = ("email", "full_name", "country", "lifetime_value", "marketing_consent")
        wanted = {row[0]: row[1:] for row in rows}
        has = {key: tuple(one[name] for name in names) for key, one in self.contacts().items()}
        return wanted == has


@pytest.fixture
def delivery(home: psycopg.Connection, home_db: str, shop_api: ShopServer) -> DeliverCase:
    """No customers yet, and an API without contacts."""
    home.execute(SOURCE)
    home.commit()
    return DeliverCase(shop_api, home_db)
