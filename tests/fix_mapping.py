"""Mappings that tests are made of, and what is said about wrong ones."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from sinew.errors import SpecError
from sinew.spec import parse_mapping

HEAD = """\
migration: shop
source: {conn: legacy}
target: {conn: new, schema: shop}
"""

WHOLE = (
    HEAD
    + """\
cohort: {root: customers}
phases:
  - {name: pilot, where: "no % 20 = 0", approval: true}
  - {name: rest}
batch: {rows: 500}
max_rejects: 0.01
entities:
  orders:
    from: TXN_HDR
    key: [BASKET]
    columns:
      order_id: {key: uuid}
      customer_id: {ref: customers, by: NO}
      total: {expr: "cents / 100.0", do: [{round: 2}]}
  lines:
    from: {table: TXN_LINE, schema: old}
    key: [BASKET, LINE]
    target_key: [order_id, line]
    max_rejects: 7
    columns:
      order_id: {ref: orders, by: BASKET}
      line: {key: copy, from: LINE}
  customers:
    from: CUST
    into: people
    key: NO
    existing: update
    columns:
      customer_id: {key: uuid}
      name: {from: NAME, do: [trim, {nullif: [N/A, '']}], pii: true}
      flag: {from: F, do: [{to_bool: {true: [Y, 1], false: [N, 0]}}]}
      kind: {from: K, do: [{map: {no: off, 01: 1.50, gone: null}}], default: unknown}
      origin: {value: 2024-01-31}
      friend: {ref: customers, by: FRIEND, on_error: null}
  notes:
    from: NOTE
    columns:
      note: {from: TEXT}
reconcile:
  - name: worth
    source: {sql: "SELECT no AS customer, 1 AS worth FROM cust"}
    target: {sql: "SELECT customer_id AS customer, 1 AS worth FROM people"}
    key: customer
    through: customers
    rejected: {entity: lines, key: {customer: no}, value: {worth: cents}}
    tolerance: 0.01
"""
)


def entity(columns: str = "id: {key: copy}", **keys: str) -> str:
    """A mapping of one entity, `things`, with the columns and keys given."""
    more = "".join(f"    {key}: {value}\n" for key, value in {"key": "[ID]", **keys}.items())
    body = textwrap.indent(textwrap.dedent(columns), "      ")
    return f"{HEAD}entities:\n  things:\n    from: THINGS\n{more}    columns:\n{body}\n"


def problems(text: str, include: Path | None = None) -> list[str]:
    """What is said about a mapping, as `line:column: message`."""
    with pytest.raises(SpecError) as raised:
        parse_mapping(text, file="m.yaml", include=include)
    return [str(problem).removeprefix("m.yaml:") for problem in raised.value.problems]


def included(tmp_path: Path) -> Path:
    """A mapping file that names a SQL file and a Python function; returns its path."""
    for folder in ("sql", "mappings/python", "mappings/migrations"):
        (tmp_path / "include" / folder).mkdir(parents=True)
    (tmp_path / "include/sql/open.sql").write_text("SELECT 1 AS id")
    module = tmp_path / "include/mappings/python/scores.py"
    module.write_text("def score(frame):\n    return frame['A']\n")
    text = entity("id: {key: copy}\ns: {python: 'scores:score', from: [A]}")
    mapping_file = tmp_path / "include/mappings/migrations/shop.yaml"
    mapping_file.write_text(text.replace("from: THINGS", "from: {sql: open.sql}"))
    return mapping_file
