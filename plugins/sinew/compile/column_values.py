"""The value of each target column, as SQL over landing (alias l) and what is joined to it.

Aliases: ``l`` landing, ``p1``… the row ledgers of referenced entities, ``e`` the entity's own row ledger
(joined only when the batch's range already has entries), ``x`` the values that Python functions made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from sinew.compile.assign import assign
from sinew.compile.entity_plan import TEXT, EntityPlan
from sinew.compile.expressions import qualify
from sinew.compile.facts import ColumnFact, PgType
from sinew.compile.transforms import Expression, Guard, compile_steps
from sinew.spec.columns import (
    ColumnBase,
    ExprColumn,
    FromColumn,
    KeyColumn,
    PythonColumn,
    RefColumn,
    ValueColumn,
)
from sinew.spec.steps import Step

LANDED = "l"
# What tells the rows of a keyless entity apart; the ordinal is numbered where landing is read.
KEYLESS_KEY = ("sinew_hash", "sinew_ordinal")


@dataclass(frozen=True)
class ColumnValue:
    """One target column: its mapping, its fact and its value before assignment."""

    column: ColumnBase
    fact: ColumnFact
    expression: Expression

    @property
    def name(self) -> str:
        """The target column."""
        return self.fact.name


def natural_values(plan: EntityPlan, *, own_ledger: bool = False) -> tuple[ColumnValue, ...]:
    """Every mapped column's value in its natural type; deferred references are NULL."""
    return tuple(_natural_value(plan, fact, own_ledger) for fact in plan.columns)


def assigned_values(plan: EntityPlan, *, own_ledger: bool = False) -> tuple[ColumnValue, ...]:
    """Every mapped column's value in the target's type, with the guards that keep it from changing silently."""
    return tuple(assigned_value(plan, fact, own_ledger=own_ledger) for fact in plan.columns)


def assigned_value(plan: EntityPlan, fact: ColumnFact, *, own_ledger: bool = False) -> ColumnValue:
    """One mapped column's value in the target's type; ValueError when the mapping must say how."""
    value = _natural_value(plan, fact, own_ledger)
    natural = dict(plan.facts.natural)[fact.name]
    # A key that Sinew makes is never NULL, and asking would compute it, or draw a number, twice.
    made = isinstance(value.column, KeyColumn) and value.column.strategy != "copy"
    nullable = made or (fact.nullable and not isinstance(value.column, KeyColumn))
    assigned = assign(value.expression, natural, fact.type, nullable=nullable, has_default=False)
    return ColumnValue(value.column, fact, assigned)


def _natural_value(plan: EntityPlan, fact: ColumnFact, own_ledger: bool) -> ColumnValue:
    return ColumnValue(plan.entity.columns[fact.name], fact, _natural(plan, fact, own_ledger))


def _natural(plan: EntityPlan, fact: ColumnFact, own_ledger: bool) -> Expression:
    column = plan.entity.columns[fact.name]
    if isinstance(column, KeyColumn) and column.strategy == "uuid":
        return _plain(_uuid8(plan, column))
    if isinstance(column, KeyColumn) and column.strategy == "identity":
        return _plain(_identity(plan, fact, own_ledger))
    if isinstance(column, RefColumn):
        return _reference(plan, column, fact)
    return _stepped(plan, column, fact)


def _stepped(plan: EntityPlan, column: ColumnBase, fact: ColumnFact) -> Expression:
    value, type_ = _raw(plan, column)
    steps = all_steps(plan, column, fact)
    try:
        return compile_steps(value, type_, steps, column.default, _landed)
    except ValueError as error:
        raise ValueError(f"column {column.name}: {error}") from None


def _raw(plan: EntityPlan, column: ColumnBase) -> tuple[sql.Composable, PgType | None]:
    if isinstance(column, KeyColumn):
        name = column.column or plan.entity.source_key[0]
        return _landed(name), plan.landed_types[name]
    if isinstance(column, FromColumn):
        return _landed(column.column), plan.landed_types[column.column]
    if isinstance(column, ExprColumn):
        return sql.SQL("({})").format(sql.SQL(qualify(column.sql, LANDED))), None
    if isinstance(column, ValueColumn):
        return _constant(column.value), None
    if isinstance(column, PythonColumn):
        return sql.Identifier("x", column.name), TEXT
    raise TypeError(f"column {column.name} is of no known kind")


def _constant(value: object) -> sql.Composable:
    if isinstance(value, str):
        return sql.SQL("{}::text").format(sql.Literal(value))
    return sql.Literal(value)


def all_steps(plan: EntityPlan, column: ColumnBase, fact: ColumnFact) -> tuple[Step, ...]:
    """The steps that the mapping says, and the cast that it need not say."""
    return (*column.do, *_implied_cast(plan, column, fact))


def _implied_cast(plan: EntityPlan, column: ColumnBase, fact: ColumnFact) -> Sequence[Step]:
    """A value that had to travel as text, or came from Python, is cast back to the target's type."""
    textual = isinstance(column, PythonColumn)
    if isinstance(column, FromColumn):
        textual = any(c.travels_as_text for c in plan.landed if c.name == column.column)
    declared = any(step.name == "cast" for step in column.do)
    if not textual or declared or fact.type.category == "S":
        return ()
    return (Step(name="cast", argument=fact.type.sql),)


def _landed(name: str) -> sql.Composable:
    return sql.Identifier(LANDED, name)


def _plain(value: sql.Composable) -> Expression:
    return Expression(value=value, guards=(), declared=frozenset())


def key_values(plan: EntityPlan) -> tuple[sql.Composable, ...]:
    """The source key over landing; for a keyless entity the row's hash and its ordinal among equal rows."""
    names = plan.entity.source_key or KEYLESS_KEY
    return tuple(_landed(name) for name in names)


def _uuid8(plan: EntityPlan, column: KeyColumn) -> sql.Composed:
    """A UUID of version 8 (RFC 9562, section 5.8) from the sha256 of namespace and source key.

    Each key part is led by its length, so that no two keys run together. Version and variant nibbles are
    constants: version 8, variant 10 with two zero bits of ours.
    """
    namespace = column.namespace or f"{plan.migration.name}/{plan.entity.name}"
    parts = [sql.Literal(f"{namespace}:")] + [
        sql.SQL("length({0}::text) || ':' || {0}::text").format(value) for value in key_values(plan)
    ]
    text = sql.SQL(" || ").join(parts)
    digest = sql.SQL("encode(sha256(convert_to({}, 'UTF8')), 'hex')").format(text)
    return sql.SQL(
        "overlay(overlay(left({}, 32) PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid"
    ).format(digest)


def _identity(plan: EntityPlan, fact: ColumnFact, own_ledger: bool) -> sql.Composed:
    """A number given by the target's own sequence; a row that already has one keeps it.

    In the column's own type: a conversion with rules would use the number twice, from a subquery that is run once
    for all rows.
    """
    # pg_get_serial_sequence takes the table as an SQL name, so the identifiers must be quoted inside the text.
    # A shadow has an identity of its own, but a serial column's sequence belongs to the live table.
    live = sql.Identifier(plan.migration.target.schema_name, plan.entity.into)
    sequences = [
        sql.SQL("pg_get_serial_sequence({}, {})").format(
            sql.Literal(table.as_string(None)), sql.Literal(fact.name)
        )
        for table in ((plan.target, live) if plan.shadow else (live,))
    ]
    fresh = sql.SQL("nextval(coalesce({})::regclass)").format(sql.SQL(", ").join(sequences))
    type_ = sql.SQL(fact.type.sql)
    if not own_ledger:
        return sql.SQL("({})::{}").format(fresh, type_)
    position = plan.target_key.index(fact.name) + 1
    given = sql.Identifier("e", f"t{position}")
    return sql.SQL("(coalesce({}, {}))::{}").format(given, fresh, type_)


def _reference(plan: EntityPlan, column: RefColumn, fact: ColumnFact) -> Expression:
    if column in plan.deferred:
        return _plain(sql.SQL("NULL::{}").format(sql.SQL(fact.type.sql)))
    alias = f"p{plan.refs.index(column) + 1}"
    parent = plan.migration.entities[column.entity]
    taken = column.take or parent.target_key[0]
    position = parent.target_key.index(taken) + 1
    state = sql.Identifier(alias, "state")
    value = sql.SQL("CASE WHEN {} IN ('live', 'kept') THEN {} END").format(
        state, sql.Identifier(alias, f"t{position}")
    )
    return Expression(value=value, guards=_reference_guards(column, state), declared=frozenset())


def _reference_guards(column: RefColumn, state: sql.Composable) -> tuple[Guard, ...]:
    given = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(_landed(by)) for by in column.by)
    rejected = sql.SQL("({} = 'rejected') IS TRUE").format(state)
    absent = sql.SQL("({} AND coalesce({}, 'deleted') NOT IN ('live', 'kept'))").format(
        given, state
    )
    return (
        Guard("parent_rejected", f"its {column.entity} row was rejected", rejected),
        Guard("orphan", f"there is no such row in {column.entity}", absent),
    )
