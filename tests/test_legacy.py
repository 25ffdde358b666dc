"""The demo's legacy database: what its manifest says is what plain SQL finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from demo.legacy import Manifest, build, is_built, stored_manifest
from demo.stack.postgres import EmbeddedPostgres
from sinew.spec import read_mapping

SCALE = 0.02
TABLES = (
    "CUST_MASTER",
    "STORE_MASTER",
    "PROD_MASTER",
    "TXN_HDR",
    "TXN_LINE",
    "CAMPGN",
    "CAMPGN_HH",
    "COUPN",
    "COUPN_REDM",
    "CUST_NOTE",
)
MAPPING = Path(__file__).parents[1] / "include" / "mappings" / "migrations" / "retail.yaml"

# What is wrong with a customer or an order is asked of its values, not of the manifest.
BAD_CUSTOMER: LiteralString = """
    SELECT c."HSHD_NO" FROM "CUST_MASTER" c
    WHERE NOT (c."JOIN_DT" ~ '^[0-9]{8}$' AND pg_input_is_valid(c."JOIN_DT", 'date'))
       OR trim(c."EMAIL_ADDR") !~ '^([^@ ]+@[^@ ]+[.][A-Za-z]+)?$'
       OR c."LOY_TIER" = 'Q'
       OR c."CRDT_CENTS" >= 1000000000
       OR EXISTS (
           SELECT FROM "CUST_MASTER" w
           WHERE w."HSHD_NO" < c."HSHD_NO" AND trim(c."EMAIL_ADDR") <> ''
             AND lower(trim(w."EMAIL_ADDR")) = lower(trim(c."EMAIL_ADDR"))
       )
"""
BAD_ORDER: LiteralString = (
    """
    SELECT h."BASKET_ID" FROM "TXN_HDR" h
    WHERE NOT (h."TXN_DT" ~ '^[0-9]{8}$' AND pg_input_is_valid(h."TXN_DT", 'date'))
       OR h."STORE_CD" NOT IN (SELECT "STORE_CD" FROM "STORE_MASTER")
       OR h."HSHD_NO" IN ("""
    + BAD_CUSTOMER
    + ")"
)


@pytest.fixture(scope="module")
def databases(pg: EmbeddedPostgres) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    names = ("legacy_under_test", "commerce_under_test")
    for name in names:
        pg.ensure_database(name)
    with psycopg.connect(pg.dsn(names[0])) as source, psycopg.connect(pg.dsn(names[1])) as target:
        yield source, target
    for name in names:
        pg.drop_database(name)


@pytest.fixture(scope="module")
def manifest(databases: tuple[psycopg.Connection, psycopg.Connection]) -> Manifest:
    return build(*databases, scale=SCALE)


@pytest.fixture
def legacy(
    databases: tuple[psycopg.Connection, psycopg.Connection], manifest: Manifest
) -> psycopg.Connection:
    return databases[0]


def count(conn: psycopg.Connection, query: LiteralString) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def checksums(conn: psycopg.Connection) -> dict[str, object]:
    query = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {} t"
    return {t: conn.execute(sql.SQL(query).format(sql.Identifier(t))).fetchone() for t in TABLES}


def test_every_row_is_either_expected_in_the_target_or_a_reject(manifest: Manifest) -> None:
    assert len(manifest.figures) == 11
    for figures in manifest.figures:
        assert figures.source_rows == figures.expected_loaded + figures.rejected
        assert figures.expected_loaded > 0


def test_the_manifest_is_about_the_entities_of_the_mapping(manifest: Manifest) -> None:
    mapping = read_mapping(MAPPING)
    assert {figures.entity for figures in manifest.figures} == set(mapping.entities)
    for defect in manifest.defects:
        entity = mapping.entities[defect.entity]
        assert defect.column in entity.columns
        assert set(entity.source_key) <= set(defect.source_key)


def test_no_row_has_two_defects(manifest: Manifest) -> None:
    rows = [(d.entity, tuple(sorted(d.source_key.items()))) for d in manifest.defects]
    assert len(rows) == len(set(rows))


def test_spoilt_customers_are_those_whose_values_are_wrong(
    manifest: Manifest, legacy: psycopg.Connection
) -> None:
    found = {row[0] for row in legacy.execute(BAD_CUSTOMER)}
    assert found == {d.source_key["HSHD_NO"] for d in manifest.planted("customers")}
    assert len(found) == manifest.of("customers").rejected


def test_spoilt_products_are_those_whose_values_are_wrong(
    manifest: Manifest, legacy: psycopg.Connection
) -> None:
    wrong = legacy.execute(
        'SELECT "PROD_ID" FROM "PROD_MASTER" WHERE "SHLF_DAYS" > 32767'
        """ OR "LIST_PRC" !~ '^[0-9]{1,3}([.][0-9]{3})*,[0-9]{2}$'"""
    )
    assert {row[0] for row in wrong} == {
        d.source_key["PROD_ID"] for d in manifest.planted("products")
    }


def test_rows_below_a_spoilt_customer_or_order_are_counted_as_its_dependants(
    manifest: Manifest, legacy: psycopg.Connection
) -> None:
    below_customer: dict[str, LiteralString] = {
        "customer_profiles": '"CUST_MASTER" WHERE "INCOME_RNG" IS NOT NULL AND',
        "campaign_customers": '"CAMPGN_HH" WHERE',
        "redemptions": '"COUPN_REDM" WHERE',
        "notes": '"CUST_NOTE" WHERE',
        "orders": '"TXN_HDR" WHERE',
    }
    total = 0
    for entity, rows in below_customer.items():
        fallen = count(legacy, f'SELECT count(*) FROM {rows} "HSHD_NO" IN ({BAD_CUSTOMER})')
        assert fallen == manifest.of(entity).expected_rejects.get("parent_rejected", 0), entity
        total += fallen
    lines = count(legacy, f'SELECT count(*) FROM "TXN_LINE" WHERE "BASKET_ID" IN ({BAD_ORDER})')
    assert lines == manifest.of("order_lines").expected_rejects["parent_rejected"]
    assert total + lines == sum(d.dependants for d in manifest.defects)


def test_orphans_are_the_rows_whose_parents_are_nowhere(
    manifest: Manifest, legacy: psycopg.Connection
) -> None:
    found = {
        "order_lines": count(
            legacy,
            'SELECT count(*) FROM "TXN_LINE" l WHERE '
            'NOT EXISTS (SELECT FROM "TXN_HDR" h WHERE h."BASKET_ID" = l."BASKET_ID") '
            'OR NOT EXISTS (SELECT FROM "PROD_MASTER" p WHERE p."PROD_ID" = l."PROD_ID")',
        ),
        "orders": count(
            legacy,
            'SELECT count(*) FROM "TXN_HDR" h WHERE '
            'NOT EXISTS (SELECT FROM "STORE_MASTER" s WHERE s."STORE_CD" = h."STORE_CD")',
        ),
        "campaign_customers": count(
            legacy,
            'SELECT count(*) FROM "CAMPGN_HH" m WHERE '
            'NOT EXISTS (SELECT FROM "CAMPGN" c WHERE c."CAMPGN_CD" = m."CAMPGN_CD") '
            'OR NOT EXISTS (SELECT FROM "CUST_MASTER" c WHERE c."HSHD_NO" = m."HSHD_NO")',
        ),
        "redemptions": count(
            legacy,
            'SELECT count(*) FROM "COUPN_REDM" r WHERE NOT EXISTS (SELECT FROM "COUPN" k WHERE '
            'k."COUPN_UPC" = r."COUPN_UPC" AND k."CAMPGN_CD" = r."CAMPGN_CD")',
        ),
        "notes": count(
            legacy,
            'SELECT count(*) FROM "CUST_NOTE" n WHERE n."HSHD_NO" IS NOT NULL AND '
            'NOT EXISTS (SELECT FROM "CUST_MASTER" c WHERE c."HSHD_NO" = n."HSHD_NO")',
        ),
    }
    assert found == {name: manifest.of(name).expected_rejects["orphan"] for name in found}


def test_lost_referrers_are_counted_as_values_and_their_customers_stay(
    manifest: Manifest, legacy: psycopg.Connection
) -> None:
    good = f'"CUST_MASTER" c WHERE c."HSHD_NO" NOT IN ({BAD_CUSTOMER}) AND c."REF_NO"'
    missing = count(
        legacy,
        f'SELECT count(*) FROM {good} NOT IN (SELECT "HSHD_NO" FROM "CUST_MASTER")',
    )
    rejected = count(legacy, f"SELECT count(*) FROM {good} IN ({BAD_CUSTOMER})")
    values = manifest.of("customers").expected_values
    assert values["orphan"] == missing
    assert values["parent_rejected"] == rejected


def test_sales_of_rejected_lines_are_known_to_the_cent(
    manifest: Manifest, legacy: psycopg.Connection
) -> None:
    loaded = count(
        legacy,
        'SELECT sum(l."SALES_CENTS") FROM "TXN_LINE" l JOIN "TXN_HDR" h USING ("BASKET_ID") '
        'JOIN "PROD_MASTER" p USING ("PROD_ID") '
        'WHERE l."QTY" < 2147483648 AND l."SALES_CENTS" < 1000000000000 '
        f'AND l."BASKET_ID" NOT IN ({BAD_ORDER})',
    )
    assert manifest.sales_cents - manifest.rejected_sales_cents == loaded


def test_a_second_build_leaves_what_is_in_place(
    databases: tuple[psycopg.Connection, psycopg.Connection], manifest: Manifest
) -> None:
    source, target = databases
    table: LiteralString = """SELECT '"TXN_LINE"'::regclass::oid"""
    before = count(source, table)
    assert is_built(source, target, scale=SCALE)
    assert build(source, target, scale=SCALE) == manifest == stored_manifest(source)
    assert count(source, table) == before
    assert not is_built(source, target, scale=SCALE, seed=1)


def test_a_database_made_again_holds_the_same_rows(
    databases: tuple[psycopg.Connection, psycopg.Connection], manifest: Manifest
) -> None:
    source, target = databases
    before = checksums(source)
    source.commit()
    assert build(source, target, scale=SCALE, force=True) == manifest
    assert checksums(source) == before
    source.commit()


def test_the_new_database_has_tables_and_no_row(
    databases: tuple[psycopg.Connection, psycopg.Connection], manifest: Manifest
) -> None:
    mapping = read_mapping(MAPPING)
    for entity in mapping.entities.values():
        table = sql.Identifier("commerce", entity.into)
        row = databases[1].execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        assert row == (0,)
