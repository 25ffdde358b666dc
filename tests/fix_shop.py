"""A small shop to migrate: every kind of key, reference and defect, in a few rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.spec.reader import parse_mapping

SOURCE = """
CREATE TABLE "CUST" (
    "NO" integer PRIMARY KEY, "NAME" text, "EMAIL" text, "JOINED" text, "REF_NO" integer, "KIND" char(3));
INSERT INTO "CUST" SELECT n, '  customer   ' || n || ' ', 'C' || n || '@Shop.example ',
    to_char(date '2020-01-01' + n, 'YYYYMMDD'), CASE WHEN n % 7 = 0 THEN n + 30 END, CASE n % 3 WHEN 0 THEN 'A' ELSE 'B' END
    FROM generate_series(1, 100) AS n;
UPDATE "CUST" SET "JOINED" = '20230231' WHERE "NO" IN (11, 40);       -- no such day
UPDATE "CUST" SET "EMAIL" = 'c5@shop.EXAMPLE' WHERE "NO" = 55;       -- twin of 5
UPDATE "CUST" SET "REF_NO" = 9999 WHERE "NO" = 13;                     -- nobody
UPDATE "CUST" SET "REF_NO" = 11 WHERE "NO" = 14;                       -- somebody who is rejected
CREATE TABLE "ORD" ("ID" bigint PRIMARY KEY, "CUST_NO" integer, "AT" timestamptz, "CENTS" integer);
INSERT INTO "ORD" SELECT n, 1 + n % 100, timestamptz '2024-01-01 00:00Z' + n * interval '1 hour', n * 10
    FROM generate_series(1, 1000) AS n;
UPDATE "ORD" SET "CUST_NO" = 7777 WHERE "ID" IN (500, 501);            -- orphans
CREATE TABLE "LINE" ("ORD_ID" bigint, "NO" integer, "QTY" bigint, "CENTS" integer, "NOTE" text, PRIMARY KEY ("ORD_ID", "NO"));
INSERT INTO "LINE" SELECT o, l, l, 100 * l, CASE l WHEN 1 THEN '' WHEN 2 THEN NULL ELSE 'x' END
    FROM generate_series(1, 1000) AS o, generate_series(1, 3) AS l;
UPDATE "LINE" SET "QTY" = 3000000000 WHERE ("ORD_ID", "NO") IN ((20, 1), (21, 2));  -- beyond an integer
CREATE TABLE "LOG" ("WHO" integer, "WHAT" text);
INSERT INTO "LOG" SELECT n % 5, 'did ' || n % 3 FROM generate_series(1, 60) AS n;
CREATE TABLE "TAG" ("CODE" text PRIMARY KEY, "TITLE" text);
INSERT INTO "TAG" SELECT 't' || n, 'Tag ' || n FROM generate_series(1, 20) AS n;
"""

TARGET = """
CREATE SCHEMA shop;
CREATE TABLE shop.customers (
    customer_id uuid PRIMARY KEY, name text NOT NULL, email text UNIQUE, joined_on date NOT NULL,
    referrer_id uuid REFERENCES shop.customers, kind varchar(1) NOT NULL);
CREATE TABLE shop.orders (
    order_id bigint PRIMARY KEY, customer_id uuid NOT NULL REFERENCES shop.customers, ordered_at timestamptz,
    total numeric(10, 2) NOT NULL);
CREATE TABLE shop.lines (
    order_id bigint REFERENCES shop.orders, line_no integer, quantity integer NOT NULL, amount numeric(8, 2), note text,
    PRIMARY KEY (order_id, line_no));
CREATE TABLE shop.log (who integer, what text);
CREATE TABLE shop.tags (
    tag_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text NOT NULL, title text NOT NULL);
"""

MAPPING = """
migration: shop
strategy: {strategy}
source: {{conn: old_shop}}
target: {{conn: new_shop, schema: shop, existing: {existing}}}
{cohort}
batch: {{rows: {rows}}}
max_rejects: 0.5
contracts: contracts/shop
hash: {hash}
entities:
  customers:
    from: CUST
    key: [NO]
    columns:
      customer_id: {{key: uuid}}
      name: {{from: NAME, do: [trim, squeeze, title]}}
      email: {{from: EMAIL, do: [trim, lower], pii: true}}
      joined_on: {{from: JOINED, do: [{{parse_date: YYYYMMDD}}]}}
      referrer_id: {{ref: customers, by: REF_NO, on_error: null}}
      kind: {{from: KIND, do: [trim]}}
  orders:
    from: ORD
    key: [ID]
    columns:
      order_id: {{key: copy}}
      customer_id: {{ref: customers, by: CUST_NO}}
      ordered_at: {{from: AT}}
      total: {{expr: '"CENTS"::numeric / 100'}}
  lines:
    from: LINE
    key: [ORD_ID, "NO"]
    target_key: [order_id, line_no]
    columns:
      order_id: {{ref: orders, by: ORD_ID}}
      line_no: {{from: "NO"}}
      quantity: {{from: QTY}}
      amount: {{expr: '"CENTS"::numeric / 100', do: [{{round: 2}}]}}
      note: {{from: NOTE}}
  log:
    from: LOG
    columns:
      who: {{from: WHO}}
      what: {{from: WHAT}}
  tags:
    from: TAG
    key: [CODE]
    columns:
      tag_id: {{key: identity}}
      code: {{from: CODE}}
      title: {{from: TITLE}}
reconcile:
  - name: value of every customer
    source: {{sql: 'SELECT o."CUST_NO" AS customer, sum(l."CENTS") / 100.0 AS value FROM "ORD" o JOIN "LINE" l ON l."ORD_ID" = o."ID" GROUP BY 1'}}
    target: {{sql: 'SELECT o.customer_id AS customer, sum(l.amount) AS value FROM shop.orders o JOIN shop.lines l USING (order_id) GROUP BY 1'}}
    key: [customer]
    through: customers
    rejected: {{entity: lines, key: {{customer: '(SELECT o."CUST_NO" FROM "ORD" o WHERE o."ID" = "ORD_ID")'}}, value: {{value: '"CENTS" / 100.0'}}}}
"""

# The business check alone, as it stands in the finished text.
RECONCILE = MAPPING[MAPPING.index("reconcile:") :].format()

COHORT = """cohort: {root: customers}
phases:
  - {name: pilot, where: '"NO" % 10 = 0'}
  - {name: rest}"""

REJECTS = {
    ("customers", "parse_date"): 2,
    ("customers", "duplicate"): 1,
    ("orders", "orphan"): 2,
    ("orders", "parent_rejected"): 30,
    ("lines", "parent_rejected"): 96,
    ("lines", "out_of_range"): 2,
}


@dataclass(frozen=True)
class Shop:
    """Both databases of the shop, and ways to make its mapping and to look at it."""

    source: Endpoint
    home: Endpoint
    include: Path

    def context(
        self,
        *,
        rows: int = 1000,
        cohort: str = COHORT,
        strategy: str = "trickle",
        hash: str = "auto",
        existing: str = "fail",
        change: tuple[str, str] | None = None,
        parallelism: int | None = 1,
    ) -> Context:
        """A context with the mapping; ``change`` replaces one text of it with another."""
        text = MAPPING.format(
            rows=rows, cohort=cohort, strategy=strategy, hash=hash, existing=existing
        )
        if change:
            assert change[0] in text
            text = text.replace(*change)
        return Context(
            parse_mapping(text, include=self.include), self.source, self.home, parallelism
        )

    def old(self, query: str) -> list[tuple[object, ...]]:
        """Run one statement on the source."""
        return _run(self.source, query)

    def new(self, query: str) -> list[tuple[object, ...]]:
        """Run one statement on the target."""
        return _run(self.home, query)

    def picture(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything a migration leaves, without numbers that depend on how often it was tried."""
        ledgers = ["customers", "orders", "lines", "log", "tags"]
        found = {
            name: self.new(
                f"SELECT to_jsonb(w) - 'batch_id' - 't1' - 'target_hash' FROM sinew_rows.shop__{name} AS w ORDER BY 1"
            )
            for name in ledgers
        }
        found["tags_target"] = self.new("SELECT code, title FROM shop.tags ORDER BY 1")
        for name in ("customers", "orders", "lines", "log"):
            found[f"{name}_target"] = self.new(
                f"SELECT to_jsonb(t) FROM shop.{name} AS t ORDER BY 1"
            )
        found["rejects"] = self.new(
            "SELECT entity, source_key, scope, column_name, rule, reason FROM sinew.reject ORDER BY 1, 2, 3, 4, 5"
        )
        return found


def _run(endpoint: Endpoint, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(endpoint.conninfo, autocommit=True) as conn:
        cursor = conn.execute(query)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def shop(
    source_db: str, home_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """The shop with its data, nothing migrated."""
    (tmp_path / "contracts" / "shop").mkdir(parents=True)
    (tmp_path / "mappings" / "python").mkdir(parents=True)
    monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
    made = Shop(Endpoint("old_shop", source_db), Endpoint("new_shop", home_db), tmp_path)
    made.old(SOURCE)
    made.new(TARGET)
    yield made
