"""Defects of known number and kind, planted in the legacy database, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import psycopg
from psycopg.types.json import Jsonb

from demo.legacy.manifest import Defect, Figures, Manifest
from demo.legacy.statements import statement


@dataclass(frozen=True)
class Kind:
    """One kind of defect: ``count`` rows of the full database, chosen from the picks of ``pick``.

    ``column`` is the target column that fails, ``rule`` what the migration must say of it. The
    statement that plants it is ``plant/<entity>_<name>.sql``.
    """

    entity: str
    name: str
    column: str
    rule: str
    count: int
    pick: str
    scope: str = "row"

    def rows(self, scale: float) -> int:
        """Rows to spoil in a database of that scale: at least two."""
        return max(2, round(self.count * min(scale, 1.0)))


# One defect a row, and none below a spoilt parent: the rule of every reject is beyond doubt.
ROOTS = (
    Kind("customers", "join_date", "joined_on", "parse_date", 20, "customers"),
    Kind("customers", "email", "email", "check", 15, "customers"),
    Kind("customers", "duplicate", "email", "duplicate", 15, "customers"),
    Kind("customers", "tier", "loyalty_tier", "map", 10, "customers"),
    Kind("customers", "credit", "credit_limit", "out_of_range", 10, "customers"),
    Kind("products", "price", "list_price", "parse_number", 15, "products"),
    Kind("products", "shelf", "shelf_days", "out_of_range", 10, "products"),
)
BRANCHES = (
    Kind("customers", "birth_date", "born_on", "parse_date", 25, "whole_customers", "value"),
    Kind("customers", "referrer_missing", "referrer_id", "orphan", 20, "whole_customers", "value"),
    Kind(
        "customers",
        "referrer_rejected",
        "referrer_id",
        "parent_rejected",
        10,
        "whole_customers",
        "value",
    ),
    Kind("campaign_customers", "campaign", "campaign_id", "orphan", 15, "whole_customers"),
    Kind("campaign_customers", "household", "customer_id", "orphan", 10, ""),
    Kind("orders", "date", "ordered_on", "parse_date", 20, "orders"),
    Kind("orders", "store", "store_code", "orphan", 20, "orders"),
    Kind("redemptions", "campaign", "campaign_id", "orphan", 15, "redemptions"),
    Kind("redemptions", "date", "redeemed_on", "parse_date", 10, "redemptions"),
    Kind("notes", "household", "customer_id", "orphan", 20, ""),
)
LEAVES = (
    Kind("order_lines", "product", "product_id", "orphan", 60, "order_lines"),
    Kind("order_lines", "header", "order_id", "orphan", 60, ""),
    Kind("order_lines", "quantity", "quantity", "out_of_range", 40, "order_lines"),
    Kind("order_lines", "amount", "sales_value", "out_of_range", 20, "order_lines"),
)


def plant(conn: psycopg.Connection, fingerprint: str, scale: float, seed: int) -> Manifest:
    """Spoil the rows and store the manifest; the legacy tables are filled and have their keys."""
    for picks, kinds in (
        ("pick_customers", ROOTS),
        ("pick_orders", BRANCHES),
        ("pick_lines", LEAVES),
    ):
        conn.execute(statement(f"plant/{picks}"))
        _plant_all(conn, kinds, scale)
    conn.execute(statement("plant/dependants"))
    manifest = _manifest(conn, fingerprint, scale, seed)
    conn.execute("DROP TABLE demo_manifest.pick, demo_manifest.bad_order, demo_manifest.dependant")
    conn.execute(statement("plant/store"), {"fingerprint": fingerprint, "body": manifest.to_json()})
    return manifest


def _plant_all(conn: psycopg.Connection, kinds: Iterable[Kind], scale: float) -> None:
    used: dict[str, int] = {}
    picked = sum(kind.rows(scale) for kind in ROOTS if kind.entity == "customers")
    for kind in kinds:
        after, count = used.get(kind.pick, 0), kind.rows(scale)
        keys = _plant_one(conn, kind, {"after": after, "count": count, "picked": picked})
        if len(keys) != count:
            raise RuntimeError(
                f"planted {len(keys)} of {count} defects {kind.entity}.{kind.name}; "
                f"the scale {scale} leaves too few rows: take a larger one"
            )
        used[kind.pick] = after + count


def _plant_one(
    conn: psycopg.Connection, kind: Kind, which: dict[str, int]
) -> list[dict[str, object]]:
    found = conn.execute(statement(f"plant/{kind.entity}_{kind.name}"), which)
    keys = sorted((key for (key,) in found), key=lambda key: list(key.values()))
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO demo_manifest.defect (entity, source_key, kind, column_name, rule, scope)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (kind.entity, Jsonb(key), kind.name, kind.column, kind.rule, kind.scope)
                for key in keys
            ],
        )
    return keys


def _manifest(conn: psycopg.Connection, fingerprint: str, scale: float, seed: int) -> Manifest:
    defects = tuple(Defect(*row) for row in conn.execute(statement("plant/defects")))
    fallen = dict(
        conn.execute(
            "SELECT entity, sum(rows)::integer FROM demo_manifest.dependant GROUP BY entity"
        )
    )
    rows = conn.execute(statement("plant/source_rows")).fetchall()
    figures = tuple(
        _figures(entity, count, defects, fallen.get(entity, 0)) for entity, count in rows
    )
    cents, rejected = conn.execute(statement("plant/sales")).fetchone() or (0, 0)
    return Manifest(fingerprint, scale, seed, cents, rejected, figures, defects)


def _figures(entity: str, source_rows: int, defects: tuple[Defect, ...], fallen: int) -> Figures:
    rejects = _by_rule(d for d in defects if d.entity == entity and d.scope == "row")
    if fallen:
        rejects["parent_rejected"] = fallen
    values = _by_rule(d for d in defects if d.entity == entity and d.scope == "value")
    return Figures(entity, source_rows, source_rows - sum(rejects.values()), rejects, values)


def _by_rule(defects: Iterable[Defect]) -> dict[str, int]:
    rule = attrgetter("rule")
    return {name: len(list(group)) for name, group in groupby(sorted(defects, key=rule), key=rule)}
