"""Audit what the plan needs of both databases: relations, columns, keys and the types of every expression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from sinew.compile.bounds import membership, source_relation
from sinew.compile.column_values import KEYLESS_KEY, assigned_value, natural_values
from sinew.compile.entity_plan import INT4, INT8, TEXT, EntityFacts, EntityPlan, needed_columns
from sinew.compile.expressions import without_semicolon
from sinew.compile.facts import ColumnFact, PgType
from sinew.compile.hashing import HashMode
from sinew.compile.record_sql import field_facts
from sinew.engine import catalog
from sinew.engine.session import describe
from sinew.errors import PreflightError, Problem
from sinew.spec.parts import Entity
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import Sync, SyncEntity


@dataclass
class Audit:
    """Facts of every entity that could be audited, and all problems found on the way."""

    migration: Pipeline
    hash_mode: HashMode
    plans: dict[str, EntityPlan] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def complain(self, message: str, *path: str | int) -> None:
        """Add a problem at the place in the mapping that ``path`` leads to."""
        self.problems.append(Problem(self.migration.location(*path), message))


def audit(source: psycopg.Connection, home: psycopg.Connection, migration: Pipeline) -> Audit:
    """Audit all entities, parents first; raises PreflightError with every problem at once."""
    found = Audit(migration, _hash_mode(source, home, migration))
    encoding = catalog.server(source).encoding
    for name in migration.entity_order:
        _audit_entity(source, home, found, migration.entities[name])
        if name in found.plans:
            _check_key_order(found, found.plans[name], encoding)
    if found.problems:
        raise PreflightError(found.problems)
    return found


# Server encodings whose byte order of text is that of the code points, as UTF-8's is.
_ORDERED_ENCODINGS = ("UTF8", "LATIN1")


def _check_key_order(found: Audit, plan: EntityPlan, encoding: str) -> None:
    """Ranges over text keys must hold the same rows on both sides, so both must order text alike."""
    textual = any(type_.category == "S" for type_ in plan.key_types)
    if textual and encoding not in _ORDERED_ENCODINGS:
        found.complain(
            f"key ({', '.join(plan.entity.source_key)}) is text, and the source's encoding {encoding} orders text "
            f"otherwise than UTF8; allowed: {', '.join(_ORDERED_ENCODINGS)}. Use a key that is no text",
            "entities",
            plan.entity.name,
            "key",
        )


def _hash_mode(
    source: psycopg.Connection, home: psycopg.Connection, migration: Pipeline
) -> HashMode:
    """The record hash is for two servers of one major version and one encoding."""
    ours, theirs = catalog.server(home), catalog.server(source)
    alike = ours.major == theirs.major and ours.encoding == theirs.encoding
    return "fast" if alike and migration.hash == "auto" else "text"


def _audit_entity(
    source: psycopg.Connection, home: psycopg.Connection, found: Audit, entity: Entity
) -> None:
    before = len(found.problems)
    read = _source_columns(source, found, entity)
    written, unique = _target_columns(home, found, entity)
    if len(found.problems) > before:
        return
    facts = EntityFacts(read, written, unique, found.hash_mode)
    plan = EntityPlan(found.migration, entity, facts)
    _check_predicates(source, found, plan)
    _check_arguments(home, found, entity)
    plan = _with_natural_types(home, found, plan)
    if len(found.problems) == before:
        for fact in plan.columns:
            _check_assignment(found, plan, fact)
        found.plans[entity.name] = plan


def _source_columns(
    source: psycopg.Connection, found: Audit, entity: Entity
) -> tuple[ColumnFact, ...]:
    facts = _relation_columns(source, found, entity)
    names = {fact.name for fact in facts}
    if facts:
        for path, name in _named(entity):
            if name not in names:
                found.complain(
                    _unknown(
                        name, names, "source column", str(entity.source.table or entity.source.sql)
                    ),
                    *path,
                )
    return facts


def _relation_columns(
    source: psycopg.Connection, found: Audit, entity: Entity
) -> tuple[ColumnFact, ...]:
    path = ("entities", entity.name, "from")
    if isinstance(entity, SyncEntity) and entity.source.resource is not None:
        return field_facts(entity, needed_columns(entity))
    if entity.source.table is None:
        try:
            with source.transaction():
                return catalog.described(source, sql.SQL(without_semicolon(entity.source.text)))
        except psycopg.Error as error:
            found.complain(
                f"the source refuses {entity.source.sql}: {describe(error)}; mend the SELECT", *path
            )
            return ()
    schema = found.migration.schema_of(entity.name)
    relation = catalog.relation(source, schema, entity.source.table)
    if relation is None:
        found.complain(
            f"the source has no table or view {schema}.{entity.source.table}; spell it as the catalog does",
            *path,
        )
        return ()
    if not _may(source, relation.oid, "SELECT"):
        found.complain(_grant("SELECT", schema, entity.source.table, source), *path)
    return catalog.columns(source, relation.oid)


def _named(entity: Entity) -> list[tuple[tuple[str, ...], str]]:
    """Every source column that the entity names, with the place where it does."""
    base: tuple[str, ...] = ("entities", entity.name)
    named: list[tuple[tuple[str, ...], str]] = [
        ((*base, "key"), name) for name in entity.source_key
    ]
    for column in entity.columns.values():
        named += [((*base, "columns", column.name), name) for name in column.reads]
    extra = needed_columns(entity) - {name for _, name in named}
    by_expr = {
        name: column.name
        for column in entity.columns.values()
        for name in extra
        if name in getattr(column, "sql", "")
    }
    return named + [((*base, "columns", by_expr.get(name, "")), name) for name in sorted(extra)]


def _unknown(name: str, known: set[str], what: str, where: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) or [
        other for other in known if other.lower() == name.lower()
    ]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown {what} {name!r} in {where}{hint} It has: {', '.join(sorted(known))}"


def _target_columns(
    home: psycopg.Connection, found: Audit, entity: Entity
) -> tuple[tuple[ColumnFact, ...], tuple[tuple[str, ...], ...]]:
    if isinstance(found.migration, Sync) and found.migration.delivers:
        # What an API takes has no catalog: each value is sent in the type that it is mapped to.
        return tuple(ColumnFact(name, TEXT) for name in entity.columns), ()
    schema = found.migration.target.schema_name
    path = ("entities", entity.name)
    relation = catalog.relation(home, schema, entity.into)
    if relation is None:
        found.complain(
            f"the target has no table {schema}.{entity.into}: create it, or mend `into`", *path
        )
        return (), ()
    for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        if not _may(home, relation.oid, privilege):
            found.complain(_grant(privilege, schema, entity.into, home), *path)
    facts = catalog.columns(home, relation.oid)
    numbered = catalog.numbered_columns(home, relation.oid)
    unique = tuple(index.columns for index in catalog.unique_indexes(home, relation.oid))
    _check_target(found, entity, facts, unique, numbered)
    return facts, unique


def _check_target(
    found: Audit,
    entity: Entity,
    facts: tuple[ColumnFact, ...],
    unique: tuple[tuple[str, ...], ...],
    numbered: tuple[str, ...],
) -> None:
    base = ("entities", entity.name)
    names = {fact.name for fact in facts}
    for column in entity.columns:
        if column not in names:
            found.complain(
                _unknown(column, names, "target column", entity.into), *base, "columns", column
            )
    for fact in facts:
        if fact.generated and fact.name in entity.columns:
            found.complain(
                f"{fact.name} is generated by the target: remove it", *base, "columns", fact.name
            )
        needed = (
            not fact.nullable and not fact.has_default and not fact.identity and not fact.generated
        )
        if needed and fact.name not in entity.columns:
            found.complain(
                f"target column {fact.name} is NOT NULL without a default, but nothing fills it: map it",
                *base,
            )
    for name, filling in entity.columns.items():
        if getattr(filling, "strategy", "") == "identity" and name not in numbered:
            found.complain(
                f"{name} has no sequence of its own to draw numbers from, as `key: identity` needs; allowed: "
                f"{', '.join(numbered) or 'no column of ' + entity.into}: make it GENERATED BY DEFAULT AS IDENTITY, "
                "or fill it otherwise",
                *base,
                "columns",
                name,
            )
    key = set(entity.target_key)
    if key and not any(set(columns) == key for columns in unique):
        found.complain(
            f"target key ({', '.join(entity.target_key)}) has no unique index on {entity.into}: "
            "name the columns of one in `target_key`, or add a primary key",
            *base,
        )


def _may(conn: psycopg.Connection, oid: int, privilege: str) -> bool:
    row = conn.execute(
        "SELECT has_table_privilege(%(oid)s::oid, %(privilege)s) "
        "AND has_schema_privilege(relnamespace, 'USAGE') FROM pg_class WHERE oid = %(oid)s::oid",
        {"oid": oid, "privilege": privilege},
    ).fetchone()
    return row == (True,)


def _grant(privilege: str, schema: str, table: str, conn: psycopg.Connection) -> str:
    name = sql.Identifier(schema, table).as_string(None)
    user = sql.Identifier(conn.info.user).as_string(None)
    space = sql.Identifier(schema).as_string(None)
    return (
        "a privilege is missing. Run: "
        f"GRANT USAGE ON SCHEMA {space} TO {user}; GRANT {privilege} ON {name} TO {user}"
    )


def _check_predicates(source: psycopg.Connection, found: Audit, plan: EntityPlan) -> None:
    """Let the source parse every phase's predicate for this entity."""
    if plan.from_api:
        return
    for position, phase in enumerate(found.migration.phases):
        query = sql.SQL("SELECT 1 FROM {} WHERE {}").format(
            source_relation(plan.migration, plan.entity.name, "r"), membership(plan, phase.name)
        )
        try:
            with source.transaction():
                catalog.described(source, query)
        except psycopg.Error as error:
            path = (
                ("entities", plan.entity.name, "where")
                if plan.entity.where
                else ("phases", position)
            )
            found.complain(
                f"the source refuses the condition for {plan.entity.name}: {describe(error)}", *path
            )


# Arguments that only a server can judge, and that would fail for every row.
_JUDGED: dict[str, tuple[LiteralString, Callable[[Any], str]]] = {
    "check": ("SELECT '' ~ %s", lambda argument: argument),
    "replace": ("SELECT regexp_replace('', %s, '')", lambda argument: argument["pattern"]),
    "tz": ("SELECT now() AT TIME ZONE %s", lambda argument: argument),
}


def _check_arguments(home: psycopg.Connection, found: Audit, entity: Entity) -> None:
    """Let the home database read every regular expression and every time zone."""
    for name, column in entity.columns.items():
        for i, step in enumerate(column.do):
            if step.name not in _JUDGED:
                continue
            query, part = _JUDGED[step.name]
            try:
                with home.transaction():
                    home.execute(query, (part(step.argument),))
            except psycopg.Error as error:
                found.complain(
                    f"the target's database cannot read {part(step.argument)!r}, the argument of {step.name}: "
                    f"{describe(error)}; mend it",
                    *("entities", entity.name, "columns", name, "do", i, step.name),
                )


def _with_natural_types(home: psycopg.Connection, found: Audit, plan: EntityPlan) -> EntityPlan:
    """Let the home database say the type of every value before it is assigned."""
    natural: list[tuple[str, PgType]] = []
    try:
        values = natural_values(plan)
    except ValueError as error:
        found.complain(f"{error}", "entities", plan.entity.name)
        return plan
    for value in values:
        query = sql.SQL("SELECT {} AS value FROM {}").format(
            value.expression.value, _typed_nothing(plan, found)
        )
        try:
            with home.transaction():
                natural.append((value.name, catalog.described(home, query)[0].type))
        except psycopg.Error as error:
            found.complain(
                f"the value of {value.name} cannot be computed: {describe(error)}; mend its mapping",
                "entities",
                plan.entity.name,
                "columns",
                value.name,
            )
    facts = replace(plan.facts, natural=tuple(natural))
    if isinstance(found.migration, Sync) and found.migration.delivers:
        types = dict(natural)
        sent = (replace(fact, type=types.get(fact.name, TEXT)) for fact in facts.target)
        facts = replace(facts, target=tuple(sent))
    return plan.with_facts(facts)


def _typed_nothing(plan: EntityPlan, found: Audit) -> sql.Composable:
    """A FROM clause of one row of NULLs with the types that the transform will meet."""
    landed = [(column.name, column.type) for column in plan.landed]
    landed += zip(KEYLESS_KEY, (INT8, INT4), strict=True)
    parts = [_nulls("l", landed)]
    for i, ref in enumerate(plan.refs, start=1):
        parent = found.plans.get(ref.entity)
        keys = parent.target_key_types if parent else ()
        targets = [(f"t{j}", type_) for j, type_ in enumerate(keys, start=1)]
        parts.append(_nulls(f"p{i}", [("state", PgType("text", "text")), *targets]))
    if plan.python_columns:
        text = PgType("text", "text")
        parts.append(_nulls("x", [(c.name, text) for c in plan.python_columns]))
    return sql.SQL(" CROSS JOIN ").join(parts)


def _nulls(alias: str, columns: list[tuple[str, PgType]]) -> sql.Composable:
    values = sql.SQL(", ").join(
        sql.SQL("NULL::{} AS {}").format(sql.SQL(type_.sql), sql.Identifier(name))
        for name, type_ in columns
    )
    return sql.SQL("(SELECT {}) AS {}").format(values, sql.Identifier(alias))


def _check_assignment(found: Audit, plan: EntityPlan, fact: ColumnFact) -> None:
    try:
        assigned_value(plan, fact)
    except ValueError as error:
        found.complain(f"{fact.name}: {error}", "entities", plan.entity.name, "columns", fact.name)
