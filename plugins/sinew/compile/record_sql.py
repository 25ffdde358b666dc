"""Records of an API, as they came, and the columns that are read out of them into landing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from psycopg import sql

from sinew.compile.entity_plan import FLAWS, EntityPlan
from sinew.compile.facts import ColumnFact, PgType
from sinew.compile.table_sql import landing_table
from sinew.compile.transform_sql import source_row_hash
from sinew.spec.json_fields import ORDINAL, WILD, JsonField, Step, path_steps
from sinew.spec.sync import Sync, SyncEntity

COMMA = sql.SQL(", ")
_TYPES: dict[Literal["text", "json"], PgType] = {
    "text": PgType("text", "text", category="S"),
    "json": PgType("jsonb", "jsonb"),
}


def field_facts(entity: SyncEntity, needed: frozenset[str]) -> tuple[ColumnFact, ...]:
    """The columns of an entity that reads records: each may be missing in a record."""
    return tuple(ColumnFact(name, _TYPES[field_of(entity, name).type]) for name in sorted(needed))


def field_of(entity: SyncEntity, name: str) -> JsonField:
    """Where a column stands in the record; a name that is not declared is a member of it."""
    declared = {**entity.source.parent, **entity.fields_}
    return declared.get(name) or JsonField(path=f"$[{_quoted(name)}]")


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# --- as they came


def raw_table(fetch_id: int) -> sql.Identifier:
    """The records of one reading of a resource."""
    return sql.Identifier("sinew_stage", f"raw_{fetch_id}")


def create_raw(fetch_id: int) -> sql.Composed:
    """A logged table, because records cannot always be asked for twice.

    ``taken`` holds what `each` took from the parent; ``flaws`` what in a record a database cannot hold.
    """
    return sql.SQL(
        "CREATE TABLE {} (seq bigint GENERATED ALWAYS AS IDENTITY, parent_number integer NOT NULL, "
        "page integer NOT NULL, payload jsonb NOT NULL, taken jsonb, flaws text)"
    ).format(raw_table(fetch_id))


def copy_to_raw(fetch_id: int) -> sql.Composed:
    """COPY of a page's records, as text."""
    return sql.SQL("COPY {} (parent_number, page, payload, taken, flaws) FROM STDIN").format(
        raw_table(fetch_id)
    )


def delete_pages(fetch_id: int) -> sql.Composed:
    """Forget pages that are read again. Parameters: parent, page."""
    return sql.SQL("DELETE FROM {} WHERE parent_number = %(parent)s AND page >= %(page)s").format(
        raw_table(fetch_id)
    )


def raw_evidence(fetch_id: int) -> sql.Composed:
    """Number of records."""
    return sql.SQL("SELECT count(*) FROM {}").format(raw_table(fetch_id))


def select_records(fetch_id: int) -> sql.Composed:
    """The records as JSON text, in the order in which they came."""
    return sql.SQL("SELECT payload::text FROM {} ORDER BY seq").format(raw_table(fetch_id))


# --- into landing


def insert_landing(plan: EntityPlan, batch_id: int, fetch_id: int) -> sql.Composed:
    """Read the columns out of the records. Of several records with one key the last that came is taken.

    Pages of a list that changes while it is read hold a record twice; the later one is the newer.
    """
    entity = plan.entity
    assert isinstance(entity, SyncEntity)
    names = [column.name for column in plan.landed]
    values = [
        sql.SQL("{} AS {}").format(_value(entity, name), sql.Identifier(name)) for name in names
    ]
    key = [sql.Identifier("r", name) for name in entity.source_key]
    return sql.SQL(
        "INSERT INTO {landing} ({names}, sinew_hash) SELECT {columns}, {hash} FROM "
        "(SELECT r.*, row_number() OVER (PARTITION BY {key} ORDER BY r.sinew_seq DESC, r.sinew_place DESC) "
        "AS sinew_nth FROM ({records}) AS r) AS r WHERE r.sinew_nth = 1 OR {keyless}"
    ).format(
        landing=landing_table(batch_id),
        names=COMMA.join(map(sql.Identifier, names)),
        columns=COMMA.join(sql.Identifier("r", name) for name in names),
        hash=source_row_hash(plan),
        key=COMMA.join(key),
        records=_records(entity, fetch_id, values, _last_versions(plan, fetch_id)),
        keyless=sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(name) for name in key),
    )


def count_records(plan: EntityPlan, fetch_id: int) -> sql.Composed:
    """Records of the entity before any of them is dropped as a repetition."""
    assert isinstance(plan.entity, SyncEntity)
    records = _records(plan.entity, fetch_id, [], sql.SQL(""))
    return sql.SQL("SELECT count(*) FROM ({}) AS r").format(records)


def _last_versions(plan: EntityPlan, fetch_id: int) -> sql.Composable:
    """A join that leaves the last version of each record around elements.

    What was taken off its array meanwhile is in an earlier version, under a key that does not come again.
    """
    assert isinstance(plan.entity, SyncEntity)
    paths = _record_key(plan)
    if plan.entity.source.records is None or not paths:
        return sql.SQL("")
    key = [
        sql.SQL("v.payload #>> {}::text[]").format(sql.Literal([str(step) for step in steps]))
        for steps in paths
    ]
    keyless = sql.SQL(" OR ").join(sql.SQL("({}) IS NULL").format(part) for part in key)
    return sql.SQL(
        " JOIN (SELECT max(v.seq) AS seq FROM {raw} AS v GROUP BY v.taken, {key}, "
        "CASE WHEN {keyless} THEN v.seq END) AS last ON last.seq = w.seq"
    ).format(raw=raw_table(fetch_id), key=COMMA.join(key), keyless=keyless)


def _record_key(plan: EntityPlan) -> list[tuple[Step, ...]]:
    """What tells a record from another: the key of its resource, and what the entity's key has of it."""
    entity, sync = plan.entity, plan.migration
    assert isinstance(entity, SyncEntity) and isinstance(sync, Sync) and entity.source.resource
    parent = entity.source.parent
    fields = [parent[name].path for name in entity.source_key if name in parent]
    found = [path_steps(path) for path in fields if path != ORDINAL]
    try:
        found += [path_steps(path) for path in sync.resources[entity.source.resource].key]
    except ValueError:
        pass  # a filter, which Postgres reads otherwise
    return list(dict.fromkeys(found))


def _records(
    entity: SyncEntity, fetch_id: int, values: Sequence[sql.Composable], last: sql.Composable
) -> sql.Composed:
    """Each record, or each element of its array, with its place; ``last`` joins those that count."""
    elements: sql.Composable = sql.SQL("")
    place: sql.Composable = sql.SQL("1")
    if entity.source.records is not None:
        place = sql.SQL("e.place")
        elements = sql.SQL(
            " CROSS JOIN LATERAL jsonb_path_query(w.payload, {}, silent => true) "
            "WITH ORDINALITY AS e (value, place)"
        ).format(sql.Literal(_json_path(entity.source.records)))
    listed = COMMA.join(
        [*values, sql.SQL("w.seq AS sinew_seq"), sql.SQL("{} AS sinew_place").format(place)]
    )
    return sql.SQL("SELECT {} FROM {} AS w{}{}").format(listed, raw_table(fetch_id), last, elements)


def _json_path(path: str) -> str:
    """The same in Postgres' own path language (SQL/JSON), lax: an array that is not there has no elements."""
    steps = path_steps(path, wild=True)
    return "lax $" + "".join(map(_sql_step, steps))


def _sql_step(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]" if step >= 0 else f"[last{step + 1:+d}]".replace("+0", "")
    if step == WILD:
        return "[*]"
    escaped = step.replace("\\", "\\\\").replace('"', '\\"')
    return f'."{escaped}"'


def _value(entity: SyncEntity, name: str) -> sql.Composable:
    if name == FLAWS:
        return sql.SQL("w.flaws")
    field = field_of(entity, name)
    if field.path == ORDINAL:
        return sql.SQL("e.place::text" if entity.source.records else "1::text")
    if name in entity.source.parent or entity.source.records is None:
        root = sql.SQL("w.payload")
    else:
        root = sql.SQL("e.value")
    return _extracted(root, name, field, entity)


def _extracted(
    root: sql.Composable, name: str, field: JsonField, entity: SyncEntity
) -> sql.Composable:
    steps = sql.Literal([str(step) for step in path_steps(field.path)])
    operator = "#>>" if field.type == "text" else "#>"
    value = sql.SQL("({} {} {}::text[])").format(root, sql.SQL(operator), steps)
    if field.type == "json":
        value = sql.SQL("nullif({}, 'null'::jsonb)").format(value)
    declared = name in entity.fields_ or name in entity.source.parent
    if declared:
        return value
    # What `each` took from the parent is at hand under its own name.
    return sql.SQL("coalesce({}, w.taken {} {}::text[])").format(value, sql.SQL(operator), steps)
