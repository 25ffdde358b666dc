"""Statements of extract and transform: source to landing, landing to staging and rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from sinew.compile.bounds import NEVER, Range, earlier_phases, source_predicate, source_relation
from sinew.compile.column_values import (
    KEYLESS_KEY,
    ColumnValue,
    assigned_values,
    key_values,
)
from sinew.compile.entity_plan import FLAWS, EntityPlan, LandedColumn, ledger_of
from sinew.compile.hashing import Hashed, row_hash
from sinew.compile.table_sql import MOMENT, landing_table, python_table, staging_table
from sinew.compile.transforms import Guard, mask

COMMA = sql.SQL(", ")
OR = sql.SQL(" OR ")
AND = sql.SQL(" AND ")


@dataclass(frozen=True)
class Circumstances:
    """What a transform must know of its batch beyond the plan.

    ``own_ledger``: the range already has row ledger entries; ``window_from``: where its window begins;
    ``duplicates``: the plan found rows that lose a unique value of the target.
    """

    batch_id: int
    phase: str
    own_ledger: bool = False
    window_from: str | None = None
    duplicates: bool = False


@dataclass(frozen=True)
class Trouble:
    """A guard of one column, as the reject table will tell it."""

    column: str
    guard: Guard
    on_error: str
    sample: sql.Composable


# --- extract


def copy_from_source(plan: EntityPlan, phase: str, range_: Range) -> sql.Composed:
    """COPY of one batch's raw rows, each with its hash, out of the source."""
    values = [*(_sent(column) for column in plan.landed), source_row_hash(plan)]
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT BINARY)").format(
        COMMA.join(values),
        source_relation(plan.migration, plan.entity.name, "r"),
        source_predicate(plan, phase, range_),
    )


def source_row_hash(plan: EntityPlan) -> sql.Composed:
    """Hash of a source row (alias r) as it will lie in landing."""
    hashed = [Hashed(_sent(column), column.type, column.deterministic) for column in plan.landed]
    return row_hash(hashed, plan.facts.hash_mode)


def _sent(column: LandedColumn) -> sql.Composable:
    value = sql.Identifier("r", column.name)
    if column.type.sql == column.source_type.sql:
        return value
    return sql.SQL("{}::{}").format(value, sql.SQL(column.type.sql))


def copy_to_landing(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """COPY into landing."""
    names = [sql.Identifier(column.name) for column in plan.landed] + [sql.Identifier("sinew_hash")]
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        landing_table(batch_id), COMMA.join(names)
    )


def landing_evidence(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Rows, sum of the source's hashes, and rows whose hash computed here differs from the source's."""
    return sql.SQL(
        "SELECT count(*), coalesce(sum(l.sinew_hash), 0), "
        "count(*) FILTER (WHERE l.sinew_hash IS DISTINCT FROM {}) FROM {} AS l"
    ).format(plan.source_hash(), landing_table(batch_id))


def landing_totals(batch_id: int) -> sql.Composed:
    """Rows and sum of the source's hashes."""
    return sql.SQL("SELECT count(*), coalesce(sum(l.sinew_hash), 0) FROM {} AS l").format(
        landing_table(batch_id)
    )


# --- transform


def insert_staging(
    plan: EntityPlan, now: Circumstances, rows: sql.Composable | None = None
) -> sql.Composed:
    """Map every landed row that no guard keeps out; ``rows`` narrows it to a range of landing's row ids."""
    values = assigned_values(plan, own_ledger=now.own_ledger)
    mapped = [_as(value.expression.value, value.fact.type.sql, value.name) for value in values]
    keys = [_alias(value, f"sinew_k{i}") for i, value in enumerate(key_values(plan), start=1)]
    deferred = [
        _alias(sql.Identifier("l", by), f"sinew_d{i}_{j}")
        for i, ref in enumerate(plan.deferred, start=1)
        for j, by in enumerate(ref.by, start=1)
    ]
    names = [value.name for value in values] + _extra_names(plan)
    inner = [
        *mapped,
        *keys,
        *deferred,
        *([_alias(_moment(plan, now), MOMENT)] if plan.windowed else []),
        _alias(sql.Identifier("l", "sinew_hash"), "sinew_source_hash"),
    ]
    kept = [sql.SQL("NOT {}").format(out) for out in keeping_out(plan, now, values)]
    # OFFSET 0 keeps the planner from evaluating each value once more inside the hash.
    return sql.SQL(
        "INSERT INTO {staging} ({names}, sinew_target_hash, sinew_row) "
        "SELECT {outer}, {hash}, m.sinew_row FROM "
        "(SELECT {inner}, l.ctid AS sinew_row FROM {sources}{where} OFFSET 0) AS m"
    ).format(
        staging=staging_table(now.batch_id),
        names=COMMA.join(map(sql.Identifier, names)),
        outer=COMMA.join(sql.Identifier("m", name) for name in names),
        hash=sql.SQL("m.sinew_source_hash") if _as_landed(plan, values) else plan.target_hash("m"),
        inner=COMMA.join(inner),
        sources=_sources(plan, now),
        where=_where([*kept, *([rows] if rows is not None else [])]),
    )


def _as_landed(plan: EntityPlan, values: Sequence[ColumnValue]) -> bool:
    """Whether a staged row is the landed one as it is, so that its hash, which extract has proved, is known."""
    staged = [
        (value.expression.value, value.fact.type.sql, value.fact.deterministic_collation)
        for value in values
    ]
    landed = [
        (sql.Identifier("l", column.name), column.type.sql, column.deterministic)
        for column in plan.landed
    ]
    return staged == landed


def _extra_names(plan: EntityPlan) -> list[str]:
    keys = [f"sinew_k{i}" for i in range(1, len(plan.key_types) + 1)]
    deferred = [f"sinew_{name}" for name, _ in plan.deferred_names()]
    moment = [MOMENT] if plan.windowed else []
    return [*keys, *deferred, *moment, "sinew_source_hash"]


def _moment(plan: EntityPlan, now: Circumstances) -> sql.Composable:
    """When the row changed (timestamptz); without a watermark, where its window begins."""
    if plan.watermark is None:
        return sql.SQL("{}::timestamptz").format(sql.Literal(now.window_from))
    column = sql.Identifier("l", plan.watermark.column)
    kind = plan.landed_types[plan.watermark.column].name
    if kind in ("timestamp", "date"):
        zone = sql.Literal(plan.watermark.zone)
        return sql.SQL("({}::timestamp AT TIME ZONE {})").format(column, zone)
    if plan.landed_types[plan.watermark.column].category == "S":
        # Guarded once more, because the planner may compute a value before it asks the guards.
        return sql.SQL(
            "CASE WHEN pg_input_is_valid({0}, 'timestamptz') THEN {0}::timestamptz END"
        ).format(column)
    return sql.SQL("{}::timestamptz").format(column)


def _sources(plan: EntityPlan, now: Circumstances) -> sql.Composed:
    parts = [_landing(plan, now.batch_id)]
    for i, ref in enumerate(plan.refs, start=1):
        on = AND.join(
            sql.SQL("{} = {}").format(sql.Identifier(f"p{i}", f"k{j}"), sql.Identifier("l", by))
            for j, by in enumerate(ref.by, start=1)
        )
        parts.append(_left_join(ledger_of(plan.migration, ref.entity), f"p{i}", on))
    if now.own_ledger and not plan.keyless:
        on = AND.join(
            sql.SQL("{} = {}").format(sql.Identifier("e", f"k{j}"), value)
            for j, value in enumerate(key_values(plan), start=1)
        )
        parts.append(_left_join(plan.ledger, "e", on))
    if plan.python_columns:
        parts.append(_left_join(python_table(now.batch_id), "x", sql.SQL("x.sinew_row = l.ctid")))
    return sql.SQL(" ").join(parts)


def _landing(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Landing as ``l``; equal rows of a keyless entity are numbered."""
    if not plan.keyless:
        return sql.SQL("{} AS l").format(landing_table(batch_id))
    return sql.SQL(
        "(SELECT b.*, b.ctid, (row_number() OVER (PARTITION BY b.sinew_hash))::int4 AS sinew_ordinal FROM {} AS b) AS l"
    ).format(landing_table(batch_id))


def _left_join(table: sql.Composable, alias: str, on: sql.Composable) -> sql.Composed:
    return sql.SQL("LEFT JOIN {} AS {} ON {}").format(table, sql.Identifier(alias), on)


def keeping_out(
    plan: EntityPlan, now: Circumstances, values: Sequence[ColumnValue]
) -> list[sql.Composable]:
    """Predicates, any of which keeps a landed row out of staging."""
    guards = [
        trouble.guard.when for trouble in troubles(plan, now, values) if trouble.on_error != "null"
    ]
    return [*elsewhere(plan, now), *guards]


def elsewhere(plan: EntityPlan, now: Circumstances) -> list[sql.Composable]:
    """Predicate: an earlier phase accounts for this row already, with the content that was read here.

    A row that a later phase brought, or one that the mapping no longer has, moves to the phase that reads it now.
    """
    before = earlier_phases(plan.migration, now.phase)
    if not now.own_ledger or plan.keyless or not before:
        return []
    other = sql.SQL(
        "(e.batch_id IN (SELECT id FROM sinew.batch WHERE mapping = {} AND entity = {} AND phase = ANY({})) "
        "AND (e.state IN ('live', 'kept') OR (e.state = 'rejected' AND e.source_hash = l.sinew_hash))) IS TRUE"
    ).format(sql.Literal(plan.migration.name), sql.Literal(plan.entity.name), sql.Literal(before))
    return [sql.SQL("({})").format(other)]


def count_elsewhere(plan: EntityPlan, now: Circumstances) -> sql.Composed:
    """Number of landed rows that another phase accounts for, and the sum of their hashes."""
    return sql.SQL("SELECT count(*), coalesce(sum(l.sinew_hash), 0) FROM {}{}").format(
        _sources(plan, now), _where(elsewhere(plan, now) or [NEVER])
    )


def troubles(plan: EntityPlan, now: Circumstances, values: Sequence[ColumnValue]) -> list[Trouble]:
    """Every guard of the entity, in the order in which they are asked."""
    found = _unreadable(plan)
    found += [_null_key(plan)] if plan.key_nullable else []
    for value in values:
        column = value.column
        if (failed := _python_failed(plan, value)) is not None:
            found.append(failed)
        sample = _sample(plan, value)
        found += [
            Trouble(value.name, guard, column.on_error, sample) for guard in value.expression.guards
        ]
    return [*found, *(_duplicate(plan) if now.duplicates else [])]


def _null_key(plan: EntityPlan) -> Trouble:
    when = OR.join(sql.SQL("{} IS NULL").format(value) for value in key_values(plan))
    guard = Guard("null_key", "a part of its key is NULL", sql.SQL("({})").format(when))
    return Trouble(plan.entity.source_key[0], guard, "reject", sql.SQL("NULL::text"))


def _unreadable(plan: EntityPlan) -> list[Trouble]:
    """Guards of a sync: what no column shows, but keeps a record out."""
    found = []
    if plan.from_api:
        flaws = sql.Identifier("l", FLAWS)
        when = sql.SQL("({} IS NOT NULL)").format(flaws)
        guard = Guard("unreadable", "holds what a database cannot", when)
        found.append(Trouble("*", guard, "reject", flaws))
    if plan.watermark is not None:
        column = sql.Identifier("l", plan.watermark.column)
        missing = sql.SQL("({} IS NULL)").format(column)
        if plan.landed_types[plan.watermark.column].category == "S":
            missing = sql.SQL("({0} IS NULL OR NOT pg_input_is_valid({0}, 'timestamptz'))").format(
                column
            )
        guard = Guard("watermark", "does not say when it changed", missing)
        shown = sql.SQL("left({}::text, 200)").format(column)
        found.append(Trouble(plan.watermark.column, guard, "reject", shown))
    return found


def _python_failed(plan: EntityPlan, value: ColumnValue) -> Trouble | None:
    if value.column not in plan.python_columns:
        return None
    failed = sql.Identifier("x", f"{value.name}__failed")
    guard = Guard(
        "python", "the function failed for this row", sql.SQL("({} IS NOT NULL)").format(failed)
    )
    return Trouble(value.name, guard, value.column.on_error, sql.SQL("{}::text").format(failed))


def _duplicate(plan: EntityPlan) -> list[Trouble]:
    key = key_as_json(plan)
    when = sql.SQL(
        "(({key}) IN (SELECT source_key FROM sinew.duplicate WHERE mapping = {mapping} AND entity = {entity}))"
    ).format(
        key=key, mapping=sql.Literal(plan.migration.name), entity=sql.Literal(plan.entity.name)
    )
    guard = Guard("duplicate", "a row with a smaller key has the same unique value", when)
    return [Trouble(plan.entity.source_key[0], guard, "reject", sql.SQL("NULL::text"))]


def _sample(plan: EntityPlan, value: ColumnValue) -> sql.Composable:
    column = value.column
    names = column.reads
    if not names:
        return sql.SQL("NULL::text")
    text = COMMA.join(sql.SQL("{}::text").format(sql.Identifier("l", name)) for name in names)
    shown = sql.SQL("left(concat_ws(', ', {}), 200)").format(text)
    return mask(shown) if column.pii else shown


def key_as_json(plan: EntityPlan) -> sql.Composed:
    """The source key as a jsonb object of texts, the form in which rejects keep it."""
    names = plan.entity.source_key or KEYLESS_KEY
    pairs = COMMA.join(
        sql.SQL("{}, ({})::text").format(sql.SQL("{}::text").format(sql.Literal(name)), value)
        for name, value in zip(names, key_values(plan), strict=True)
    )
    return sql.SQL("jsonb_build_object({})").format(pairs)


def insert_rejects(plan: EntityPlan, now: Circumstances) -> sql.Composed:
    """Tell of every landed row that is neither staged nor elsewhere, by the first guard that keeps it out."""
    values = assigned_values(plan, own_ledger=now.own_ledger)
    found = [trouble for trouble in troubles(plan, now, values) if trouble.on_error != "null"]
    absent = sql.SQL("NOT EXISTS (SELECT FROM {} AS s WHERE s.sinew_row = l.ctid)").format(
        staging_table(now.batch_id)
    )
    sound = sql.SQL("NOT EXISTS (SELECT FROM sinew_bad AS b WHERE b.sinew_row = l.ctid)")
    others = [sql.SQL("NOT {}").format(out) for out in elsewhere(plan, now)]
    return _tell(plan, now, found, "row", [absent, sound, *others])


def insert_failed(plan: EntityPlan, now: Circumstances) -> sql.Composed:
    """Tell of the rows for which an expression failed; bisecting has left their row ids in sinew_bad."""
    return sql.SQL(
        "INSERT INTO sinew.reject (batch_id, mapping, entity, source_key, source_hash, scope, column_name, rule, "
        "reason) SELECT {batch}, {mapping}, {entity}, k.source_key, k.sinew_hash, 'row', b.column_name, 'expression', "
        "'an expression fails for this row: ' || b.reason FROM sinew_bad AS b JOIN "
        "(SELECT {key} AS source_key, l.sinew_hash, l.ctid AS sinew_row FROM {landing}) AS k USING (sinew_row)"
    ).format(
        batch=sql.Literal(now.batch_id),
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        key=key_as_json(plan),
        landing=_landing(plan, now.batch_id),
    )


def insert_nulled(plan: EntityPlan, now: Circumstances) -> list[sql.Composed]:
    """Tell, column by column, of staged values that became NULL because the mapping says ``on_error: null``."""
    values = assigned_values(plan, own_ledger=now.own_ledger)
    found = [trouble for trouble in troubles(plan, now, values) if trouble.on_error == "null"]
    staged = sql.SQL("EXISTS (SELECT FROM {} AS s WHERE s.sinew_row = l.ctid)").format(
        staging_table(now.batch_id)
    )
    by_column = {
        name: [t for t in found if t.column == name]
        for name in dict.fromkeys(t.column for t in found)
    }
    return [
        _tell(
            plan,
            now,
            some,
            "value",
            [staged, sql.SQL("({})").format(OR.join(t.guard.when for t in some))],
        )
        for some in by_column.values()
    ]


def _tell(
    plan: EntityPlan,
    now: Circumstances,
    found: Sequence[Trouble],
    scope: str,
    where: Sequence[sql.Composable],
) -> sql.Composed:
    which = [
        sql.SQL("WHEN {} THEN {}").format(trouble.guard.when, sql.Literal(i))
        for i, trouble in enumerate(found)
    ]
    samples = [
        sql.SQL("WHEN {} THEN {}").format(trouble.guard.when, trouble.sample) for trouble in found
    ]
    told = COMMA.join(
        sql.SQL("({}, {}, {}, {})").format(
            *map(sql.Literal, (i, t.column, t.guard.rule, t.guard.reason))
        )
        for i, t in enumerate(found)
    )
    return sql.SQL(
        "INSERT INTO sinew.reject (batch_id, mapping, entity, source_key, source_hash, scope, column_name, rule, "
        "reason, value) SELECT {batch}, {mapping}, {entity}, bad.source_key, bad.source_hash, {scope}, "
        "coalesce(told.column_name, '*'), coalesce(told.rule, 'unexplained'), "
        "coalesce(told.reason, 'no rule explains it'), bad.sample FROM "
        "(SELECT {key} AS source_key, l.sinew_hash AS source_hash, {which} AS which, {sample} AS sample "
        "FROM {sources}{where} OFFSET 0) AS bad "
        "LEFT JOIN (VALUES {told}) AS told (which, column_name, rule, reason) ON told.which = bad.which"
    ).format(
        batch=sql.Literal(now.batch_id),
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        scope=sql.Literal(scope),
        key=key_as_json(plan),
        which=_case(which, "NULL::int4"),
        sample=_case(samples, "NULL::text"),
        sources=_sources(plan, now),
        where=_where(where),
        told=told if found else sql.SQL("(-1, '', '', '')"),
    )


def _case(branches: Sequence[sql.Composable], otherwise: str) -> sql.Composable:
    if not branches:
        return sql.SQL(otherwise)
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(branches))


def staging_totals(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Rows staged, sum of their source hashes, sum of their target hashes as stored."""
    return sql.SQL(
        "SELECT count(*), coalesce(sum(s.sinew_source_hash), 0), coalesce(sum(s.sinew_target_hash), 0) FROM {} AS s"
    ).format(staging_table(batch_id))


def staging_hash(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Rows staged, and the sum of their target hashes computed anew from the values."""
    return sql.SQL("SELECT count(*), coalesce(sum({}), 0) FROM {} AS s").format(
        plan.target_hash("s"), staging_table(batch_id)
    )


def reject_totals(batch_id: int) -> sql.Composed:
    """Rows kept out of this batch, and the sum of their source hashes."""
    return sql.SQL(
        "SELECT count(*), coalesce(sum(source_hash), 0) FROM sinew.reject WHERE batch_id = {} AND scope = 'row'"
    ).format(sql.Literal(batch_id))


def _as(value: sql.Composable, type_: str, name: str) -> sql.Composed:
    return sql.SQL("({})::{} AS {}").format(value, sql.SQL(type_), sql.Identifier(name))


def _alias(value: sql.Composable, name: str) -> sql.Composed:
    return sql.SQL("{} AS {}").format(value, sql.Identifier(name))


def _where(parts: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL(" WHERE {}").format(AND.join(parts)) if parts else sql.SQL("")
