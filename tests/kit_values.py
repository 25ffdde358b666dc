"""Runs compiled expressions over one value, on a real server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from sinew.compile.assign import assign
from sinew.compile.facts import PgType
from sinew.compile.guarded import Expression
from sinew.compile.transforms import compile_steps
from sinew.compile.type_names import named


@dataclass(frozen=True)
class Given:
    """A step as a mapping gives it."""

    name: str
    argument: Any = None


def steps(*given: str | tuple[str, Any]) -> list[Given]:
    """Steps written as bare names or as (name, argument)."""
    return [Given(step) if isinstance(step, str) else Given(*step) for step in given]


def compiled(source: PgType | None, do: Sequence[Given], default: object = None) -> Expression:
    """Steps over the column v of l."""
    column = sql.Identifier("l", "v")
    return compile_steps(column, source, do, default, lambda name: sql.Identifier("l", name))


def evaluated(
    home: psycopg.Connection, expression: Expression, value: str | None, type_: str
) -> tuple[str | None, str | None]:
    """(rule of the first guard that is true, the value's text) for one landed value."""
    guards = [
        sql.SQL("WHEN {} THEN {}").format(guard.when, sql.Literal(guard.rule))
        for guard in expression.guards
    ]
    rule = sql.SQL("CASE {} END").format(sql.SQL(" ").join(guards)) if guards else sql.SQL("NULL")
    # A subquery with OFFSET 0 stands for the landing table, so that nothing is folded at plan time.
    query = sql.SQL(
        "SELECT {rule}, ({value})::text FROM (SELECT {given}::{type} AS v OFFSET 0) AS l"
    ).format(rule=rule, value=expression.value, given=sql.Literal(value), type=sql.SQL(type_))
    row = home.execute(query).fetchone()
    assert row is not None
    return row[0], row[1]


def assigned(
    home: psycopg.Connection,
    value: str | None,
    source: str,
    target: str | PgType,
    do: Sequence[Given] = (),
    natural: str | None = None,
    nullable: bool = True,
) -> tuple[str | None, str | None]:
    """(rule, text) of a value of one type in another; ``natural`` is the type after the steps."""
    wanted = named(target) if isinstance(target, str) else target
    expression = assign(
        compiled(named(source), do),
        named(natural or source),
        wanted,
        nullable=nullable,
        has_default=False,
    )
    return evaluated(home, expression, value, source)


def stepped(
    home: psycopg.Connection,
    value: str | None,
    *do: str | tuple[str, Any],
    source: str = "text",
    default: object = None,
) -> tuple[str | None, str | None]:
    """(rule, text) of a value after its steps."""
    return evaluated(home, compiled(named(source), steps(*do), default), value, source)
