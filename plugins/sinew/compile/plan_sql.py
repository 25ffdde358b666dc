"""Statements of the planner: counts, key ranges, and rows that lose a unique value."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sinew.compile.bounds import (
    Range,
    key_column,
    key_given,
    membership,
    ordered_source_keys,
    source_predicate,
    source_relation,
)
from sinew.compile.column_values import assigned_values
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.transform_sql import key_as_json, source_row_hash

COMMA = sql.SQL(", ")


def range_bounds(plan: EntityPlan, phase: str, rows: int) -> sql.Composed:
    """Every ``rows``-th key of a phase, as text: each is the upper bound of one batch and the lower of the next."""
    keys = ordered_source_keys(plan)
    texts = COMMA.join(
        sql.SQL("b.{}::text").format(sql.Identifier(f"k{i}")) for i in range(1, len(keys) + 1)
    )
    named = COMMA.join(
        sql.SQL("{} AS {}").format(key, sql.Identifier(f"k{i}"))
        for i, key in enumerate(keys, start=1)
    )
    return sql.SQL(
        "SELECT {texts} FROM (SELECT {named}, row_number() OVER (ORDER BY {keys}) AS n FROM {relation} "
        "WHERE {predicate} AND {given}) AS b WHERE b.n > 1 AND (b.n - 1) % {rows} = 0 ORDER BY b.n"
    ).format(
        texts=texts,
        named=named,
        keys=COMMA.join(keys),
        relation=source_relation(plan.migration, plan.entity.name, "r"),
        predicate=membership(plan, phase),
        given=key_given(plan, "r"),
        rows=sql.Literal(rows),
    )


def count_rows(plan: EntityPlan, phase: str) -> sql.Composed:
    """Rows of a phase, and those among them whose key has a NULL."""
    return sql.SQL("SELECT count(*), count(*) FILTER (WHERE NOT {}) FROM {} WHERE {}").format(
        key_given(plan, "r"),
        source_relation(plan.migration, plan.entity.name, "r"),
        membership(plan, phase),
    )


def null_keys(plan: EntityPlan, phase: str) -> sql.Composed:
    """Rows of a phase that have a NULL in their key, and the sum of their hashes."""
    return sql.SQL("SELECT count(*), coalesce(sum({}), 0) FROM {} WHERE {}").format(
        source_row_hash(plan),
        source_relation(plan.migration, plan.entity.name, "r"),
        source_predicate(plan, phase, Range("null_keys")),
    )


def repeated_keys(plan: EntityPlan) -> sql.Composed:
    """Number of source keys that more than one row has."""
    return sql.SQL(
        "SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1) AS d"
    ).format(
        source_relation(plan.migration, plan.entity.name, "r"),
        key_given(plan, "r"),
        COMMA.join(sql.Identifier("r", name) for name in plan.entity.source_key),
    )


# --- rows that lose a unique value of the target


def copy_unique_out(plan: EntityPlan, names: Sequence[str]) -> sql.Composed:
    """COPY of the source columns that a unique value is made from, of the whole entity."""
    landed = [column for column in plan.landed if column.name in names]
    values = COMMA.join(
        sql.SQL("{}::{}").format(sql.Identifier("r", c.name), sql.SQL(c.type.sql)) for c in landed
    )
    where = [key_given(plan, "r")]
    if plan.entity.where:
        where.append(membership(plan, plan.migration.phases[-1].name))
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT BINARY)").format(
        values, source_relation(plan.migration, plan.entity.name, "r"), sql.SQL(" AND ").join(where)
    )


def create_unique_scan(plan: EntityPlan, names: Sequence[str]) -> sql.Composed:
    """The temporary table that the columns of a unique value are scanned in."""
    columns = COMMA.join(
        sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type.sql))
        for c in plan.landed
        if c.name in names
    )
    return sql.SQL("CREATE TEMPORARY TABLE sinew_scan ({}) ON COMMIT DROP").format(columns)


def insert_duplicates(plan: EntityPlan, unique: Sequence[str]) -> sql.Composed:
    """Note every row whose unique value a row with a smaller source key has too; NULLs and rejects do not count."""
    values = [value for value in assigned_values(plan) if value.name in unique]
    sound = [sql.SQL("NOT {}").format(g.when) for value in values for g in value.expression.guards]
    given = [sql.SQL("({}) IS NOT NULL").format(value.expression.value) for value in values]
    keys = COMMA.join(
        key_column(sql.Identifier("l", name), plan.landed_types[name])
        for name in plan.entity.source_key
    )
    return sql.SQL(
        "INSERT INTO sinew.duplicate (mapping, entity, column_name, source_key) "
        "SELECT {mapping}, {entity}, {column}, d.source_key FROM (SELECT {key} AS source_key, "
        "row_number() OVER (PARTITION BY {values} ORDER BY {keys}) AS n FROM sinew_scan AS l WHERE {where}) AS d "
        "WHERE d.n > 1"
    ).format(
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        column=sql.Literal(", ".join(unique)),
        key=key_as_json(plan),
        values=COMMA.join(value.expression.value for value in values),
        keys=keys,
        where=sql.SQL(" AND ").join([*given, *sound]),
    )
