"""Big bang: shadow tables that are loaded instead of the live ones, and the swap of all of them at once."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sinew.engine import catalog
from sinew.errors import PreflightError, Problem
from sinew.paths import statement
from sinew.spec.pipeline import Pipeline

SHADOW = "sinew_shadow"
OLD = "sinew_old"


def make_shadow(home: psycopg.Connection, migration: Pipeline, table: str) -> None:
    """Make an empty copy of a live table's shape in the shadow schema, unless it is there already.

    One whose live table has changed since is made anew, or the swap would take the change back.
    """
    home.execute("CREATE SCHEMA IF NOT EXISTS sinew_shadow")
    schema = migration.target.schema_name
    shadow, live = sql.Identifier(SHADOW, table), sql.Identifier(schema, table)
    if catalog.relation(home, SHADOW, table) is not None:
        _refuse_shared(home, migration, table)
        if _shape(home, SHADOW, table) == _shape(home, schema, table):
            return
        home.execute(sql.SQL("DROP TABLE {}").format(shadow))
    refuse_unswappable(home, migration, table)
    home.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(shadow, live))


def _shape(home: psycopg.Connection, schema: str, table: str) -> list[tuple[object, ...]]:
    """Columns, constraints but foreign keys, and indexes of a table, whatever they are named."""
    return home.execute(
        statement("catalog/shape"), {"schema": schema, "relation": table}
    ).fetchall()


def _refuse_shared(home: psycopg.Connection, migration: Pipeline, table: str) -> None:
    """Shadows are named after their tables alone: two migrations cannot fill one of them."""
    rows = home.execute(
        "SELECT name FROM sinew.mapping AS m WHERE active AND swapped_at IS NULL AND name <> %s "
        "AND body #>> '{mapping,strategy}' = 'big_bang' AND EXISTS (SELECT FROM "
        "jsonb_each(body #> '{mapping,entities}') AS e WHERE coalesce(e.value ->> 'into', e.key) = %s)",
        (migration.name, table),
    ).fetchall()
    if rows:
        raise PreflightError(
            [
                Problem(
                    migration.location("strategy"),
                    f"the big bang of {rows[0][0]} is filling a shadow of a table {table} too: finish that migration "
                    f"first, or drop {SHADOW}.{table} and its row in sinew.mapping",
                )
            ]
        )


def refuse_unswappable(home: psycopg.Connection, migration: Pipeline, table: str) -> None:
    """Refuse what renaming would leave attached to the old table: views, policies, rules, partitions, outside keys."""
    rows = home.execute(
        statement("catalog/swap_obstacles"),
        {"schema": migration.target.schema_name, "relation": table, "moved": _tables(migration)},
    ).fetchall()
    if rows:
        location = migration.location("strategy")
        raise PreflightError(
            [
                Problem(
                    location,
                    f"big_bang cannot swap {migration.target.schema_name}.{table}: {what} {name} would stay "
                    "with the old table; drop it and make it again after the swap, or use `strategy: trickle`",
                )
                for what, name in rows
            ]
        )


def _tables(migration: Pipeline) -> list[str]:
    return sorted({entity.into for entity in migration.entities.values()})


def swap(home: psycopg.Connection, migration: Pipeline) -> list[str]:
    """Exchange all live tables with their shadows in one transaction; the old ones stay in schema sinew_old.

    Foreign keys, grants, triggers, publications, ownership and sequences follow. Returns the tables swapped.
    """
    tables = _tables(migration)
    schema = migration.target.schema_name
    with home.transaction():
        home.execute("CREATE SCHEMA IF NOT EXISTS sinew_old")
        # One lock order for every swap, taken before anything is looked at.
        for table in tables:
            home.execute(
                sql.SQL("LOCK TABLE {}, {} IN ACCESS EXCLUSIVE MODE").format(
                    sql.Identifier(schema, table), sql.Identifier(SHADOW, table)
                )
            )
            refuse_unswappable(home, migration, table)
        carried = [row[0] for table in tables for row in _carried(home, schema, table)]
        attached = [text for table in tables for text in _detach_sequences(home, schema, table)]
        for table in tables:
            _exchange(home, schema, table)
        for text in carried:
            home.execute(text)
        for statement_ in attached:
            home.execute(statement_)
        for table in tables:
            _advance_sequences(home, schema, table)
        home.execute(
            "UPDATE sinew.mapping SET swapped_at = now() WHERE name = %s AND active",
            (migration.name,),
        )
    return tables


def _carried(home: psycopg.Connection, schema: str, table: str) -> list[tuple[str]]:
    """Statements, made by the server, that give the new table what LIKE does not copy."""
    return home.execute(
        statement("catalog/swap_carry"), {"schema": schema, "relation": table}
    ).fetchall()


def _detach_sequences(home: psycopg.Connection, schema: str, table: str) -> list[sql.Composed]:
    """Keep serial columns' sequences from going with the old table; returns what gives them to the new one.

    Its defaults draw from the same sequences, as LIKE has copied them.
    """
    owned = home.execute(
        "SELECT s.oid::regclass::text, a.attname FROM pg_class AS s "
        "JOIN pg_depend AS d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a' "
        "AND d.refclassid = 'pg_class'::regclass "
        "JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
        "WHERE s.relkind = 'S' AND d.refobjid = %s::regclass ORDER BY a.attnum",
        (sql.Identifier(schema, table).as_string(None),),
    ).fetchall()
    for sequence, _ in owned:
        home.execute(sql.SQL("ALTER SEQUENCE {} OWNED BY NONE").format(sql.SQL(sequence)))
    return [
        sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(
            sql.SQL(sequence), sql.Identifier(schema, table, column)
        )
        for sequence, column in owned
    ]


def _exchange(home: psycopg.Connection, schema: str, table: str) -> None:
    live, shadow, old = (
        sql.Identifier(schema, table),
        sql.Identifier(SHADOW, table),
        sql.Identifier(OLD, table),
    )
    home.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(old))
    # Foreign keys between live tables would follow the old ones and hold their parents' rows.
    for (name,) in home.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'",
        (live.as_string(None),),
    ).fetchall():
        home.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(live, sql.Identifier(name))
        )
    home.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(live, sql.Identifier(OLD)))
    home.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(shadow, sql.Identifier(schema)))


def _advance_sequences(home: psycopg.Connection, schema: str, table: str) -> None:
    """Set each owned sequence past the highest value in the table."""
    relation = catalog.relation(home, schema, table)
    assert relation is not None
    name = sql.Identifier(schema, table)
    for fact in catalog.columns(home, relation.oid):
        row = home.execute(
            "SELECT pg_get_serial_sequence(%s, %s)", (name.as_string(None), fact.name)
        ).fetchone()
        if row and row[0]:
            home.execute(
                sql.SQL(
                    "SELECT setval({}::regclass, max({column}), true) FROM {table} HAVING max({column}) > 0"
                ).format(sql.Literal(row[0]), column=sql.Identifier(fact.name), table=name)
            )
