"""Half-open key ranges as SQL predicates, and which source rows belong to a phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from sinew.compile.entity_plan import EntityPlan
from sinew.compile.expressions import qualify, without_semicolon
from sinew.compile.facts import PgType
from sinew.spec.columns import RefColumn
from sinew.spec.pipeline import Pipeline

Key = tuple[str, ...]
ALWAYS = sql.SQL("true")
NEVER = sql.SQL("false")


@dataclass(frozen=True)
class Range:
    """A batch's part of the key space: lower inclusive, upper exclusive, None for no bound.

    ``kind`` is range, whole (all keys), null_keys (rows that no range can hold) or window: whatever the
    key, rows whose moment lies between the bounds, each a timestamptz as text.
    """

    kind: str = "range"
    lower: Key | None = None
    upper: Key | None = None


def key_column(value: sql.Composable, type_: PgType) -> sql.Composable:
    """A key value in the order that both databases agree on: text by its bytes, whatever the collation."""
    return sql.SQL('{} COLLATE "C"').format(value) if type_.category == "S" else value


def within(
    columns: Sequence[sql.Composable], types: Sequence[PgType], range_: Range
) -> sql.Composable:
    """Predicate: the key lies in the range. Row comparison, so that a composite key's index serves."""
    if range_.kind in ("whole", "window"):
        return ALWAYS
    if range_.kind == "null_keys":
        return NEVER
    parts = [
        _compared(columns, types, operator, bound)
        for operator, bound in ((">=", range_.lower), ("<", range_.upper))
        if bound is not None
    ]
    return sql.SQL(" AND ").join(parts) if parts else ALWAYS


def _compared(
    columns: Sequence[sql.Composable], types: Sequence[PgType], operator: str, bound: Key
) -> sql.Composed:
    left = [key_column(column, type_) for column, type_ in zip(columns, types, strict=True)]
    right = [
        sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(type_.sql))
        for value, type_ in zip(bound, types, strict=True)
    ]
    return sql.SQL("({}) {} ({})").format(
        sql.SQL(", ").join(left),
        sql.SQL(operator),
        sql.SQL(", ").join(right),
    )


def source_relation(migration: Pipeline, entity: str, alias: str) -> sql.Composable:
    """FROM item for an entity's source: a table, a view, or the SELECT of an SQL file."""
    relation = migration.entities[entity].source
    if relation.table is None:
        return sql.SQL("({}) AS {}").format(
            sql.SQL(without_semicolon(relation.text)), sql.Identifier(alias)
        )
    name = sql.Identifier(migration.schema_of(entity), relation.table)
    return sql.SQL("{} AS {}").format(name, sql.Identifier(alias))


def key_given(plan: EntityPlan, alias: str) -> sql.Composable:
    """Predicate: no part of the key is NULL."""
    parts = [
        sql.SQL("{} IS NOT NULL").format(sql.Identifier(alias, name))
        for name in plan.entity.source_key
    ]
    return sql.SQL("({})").format(sql.SQL(" AND ").join(parts)) if parts else ALWAYS


def source_predicate(
    plan: EntityPlan, phase: str, range_: Range, alias: str = "r"
) -> sql.Composable:
    """Predicate over the source relation: the rows of one batch."""
    parts = [membership(plan, phase, alias)]
    if range_.kind == "null_keys":
        parts += [*_left_over(plan, phase, alias), sql.SQL("NOT {}").format(key_given(plan, alias))]
    elif range_.kind == "window":
        parts.append(_in_window(plan, range_, alias))
    elif not plan.keyless and range_.kind == "range":
        parts.append(within(source_key_values(plan, alias), plan.key_types, range_))
        if plan.key_nullable:
            parts.append(key_given(plan, alias))
    return sql.SQL(" AND ").join(parts)


def _in_window(plan: EntityPlan, range_: Range, alias: str) -> sql.Composable:
    """The moment lies in the window, or in the overlap before it that is read again.

    The bounds are constants of the column's own type, so that its index serves.
    """
    watermark = plan.watermark
    assert watermark is not None
    column = sql.Identifier(alias, watermark.column)
    kind = next(fact.type for fact in plan.facts.source if fact.name == watermark.column)
    parts = []
    for operator, bound, shift in (
        (">=", range_.lower, watermark.overlap),
        ("<", range_.upper, 0),
    ):
        if bound is not None:
            moment = sql.SQL("{}::timestamptz - make_interval(secs => {})").format(
                sql.Literal(bound[0]), sql.Literal(float(shift))
            )
            if kind.name != "timestamptz":
                moment = sql.SQL("(({}) AT TIME ZONE {})").format(
                    moment, sql.Literal(watermark.zone)
                )
            parts.append(sql.SQL("{} {} {}").format(column, sql.SQL(operator), moment))
    return sql.SQL(" AND ").join(parts) if parts else ALWAYS


def in_window(moment: sql.Composable, range_: Range) -> sql.Composable:
    """Predicate over a timestamptz: it lies in the window, without any overlap."""
    parts = [
        sql.SQL("{} {} {}::timestamptz").format(moment, sql.SQL(operator), sql.Literal(bound[0]))
        for operator, bound in ((">=", range_.lower), ("<", range_.upper))
        if bound is not None
    ]
    return sql.SQL(" AND ").join(parts) if parts else ALWAYS


def source_key_values(plan: EntityPlan, alias: str = "r") -> list[sql.Composable]:
    """The key columns over the source as they will lie in landing, so that bounds compare alike on both sides."""
    landed = {column.name: column for column in plan.landed}
    return [
        sql.SQL("{}::{}").format(sql.Identifier(alias, name), sql.SQL(landed[name].type.sql))
        if landed[name].travels_as_text
        else sql.Identifier(alias, name)
        for name in plan.entity.source_key
    ]


def ordered_source_keys(plan: EntityPlan, alias: str = "r") -> list[sql.Composable]:
    """The same in the order that both databases agree on."""
    return [
        key_column(value, type_)
        for value, type_ in zip(source_key_values(plan, alias), plan.key_types, strict=True)
    ]


def earlier_phases(migration: Pipeline, phase: str) -> list[str]:
    """Names of the phases that move before this one."""
    names = [item.name for item in migration.phases]
    return names[: names.index(phase)]


def membership(plan: EntityPlan, phase: str, alias: str = "r") -> sql.Composable:
    """Predicate: the entity's own ``where`` holds, and the row follows its cohort root into this phase.

    A predicate counts only when it IS TRUE, and the first phase that matches wins. The last phase has no
    predicate: it is whatever no other phase accounts for, or rows whose predicate is NULL would fall between.
    """
    migration, name = plan.migration, plan.entity.name
    parts: list[sql.Composable] = []
    if plan.entity.where:
        parts.append(sql.SQL("({}) IS TRUE").format(_qualified(plan.entity.where, alias)))
    before = earlier_phases(migration, phase)
    last = phase == migration.phases[-1].name
    if not last and migration.cohort_path(name) is not None:
        parts.append(_moved_by(migration, name, len(before), alias))
        if before:
            earlier = _moved_by(migration, name, len(before) - 1, alias)
            parts.append(sql.SQL("({}) IS NOT TRUE").format(earlier))
    return sql.SQL(" AND ").join(parts) if parts else ALWAYS


def _left_over(plan: EntityPlan, phase: str, alias: str) -> list[sql.Composable]:
    """Predicate for the last phase: no earlier one has read the row.

    Only for rows without a key; of others the row ledger knows which phase brought them.
    """
    migration, name = plan.migration, plan.entity.name
    before = earlier_phases(migration, phase)
    if migration.cohort_path(name) is None or not before or phase != migration.phases[-1].name:
        return []
    earlier = _moved_by(migration, name, len(before) - 1, alias)
    return [sql.SQL("({}) IS NOT TRUE").format(earlier)]


def _moved_by(migration: Pipeline, entity: str, position: int, alias: str) -> sql.Composable:
    """Predicate: the row moves in one of the phases up to ``position``, which all have a ``where``.

    That is when its root row does; and when each row that it cannot do without does, for it may refer to the root
    in several ways. A reference that is NULL holds nothing back, but for the one that leads to the root.
    """
    path = migration.cohort_path(entity)
    if not path:
        wheres = [phase.where or "true" for phase in migration.phases[: position + 1]]
        parts = [sql.SQL("({}) IS TRUE").format(_qualified(where, alias)) for where in wheres]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(parts))
    held = [path[0], *(ref for ref in migration.cohort_refs(entity) if ref.name != path[0].name)]
    return sql.SQL(" AND ").join(
        _parent_moved_by(migration, ref, position, alias, f"{alias}{i}", optional=i > 1)
        for i, ref in enumerate(held, start=1)
    )


def _parent_moved_by(
    migration: Pipeline, ref: RefColumn, position: int, alias: str, parent: str, *, optional: bool
) -> sql.Composable:
    joined = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(parent, key), sql.Identifier(alias, by))
        for key, by in zip(migration.entities[ref.entity].source_key, ref.by, strict=True)
    )
    there = sql.SQL("EXISTS (SELECT FROM {} WHERE {} AND {})").format(
        source_relation(migration, ref.entity, parent),
        joined,
        _moved_by(migration, ref.entity, position, parent),
    )
    if not optional:
        return there
    absent = sql.SQL(" OR ").join(
        sql.SQL("{} IS NULL").format(sql.Identifier(alias, by)) for by in ref.by
    )
    return sql.SQL("({} OR {})").format(absent, there)


def _qualified(text: str, alias: str) -> sql.Composable:
    return sql.SQL(qualify(text, alias))
