"""DDL of the tables that a batch and an entity need: landing, staging, row ledger."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from sinew.compile.entity_plan import TEXT, EntityPlan
from sinew.compile.facts import PgType

# Outside the space of names that a target may use.
STAGED_EXTRAS = ("sinew_source_hash", "sinew_target_hash", "sinew_row")
MOMENT = "sinew_moment"


def landing_table(batch_id: int) -> sql.Identifier:
    """The raw rows of one batch."""
    return sql.Identifier("sinew_stage", f"landing_{batch_id}")


def staging_table(batch_id: int) -> sql.Identifier:
    """The mapped rows of one batch."""
    return sql.Identifier("sinew_stage", f"staging_{batch_id}")


def python_table(batch_id: int) -> sql.Identifier:
    """The values that Python functions made for one batch."""
    return sql.Identifier("sinew_stage", f"python_{batch_id}")


def create_landing(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """An UNLOGGED table with the landed columns and the hash that the source computed."""
    columns = [(column.name, column.type) for column in plan.landed]
    return _create_unlogged(landing_table(batch_id), [*columns, ("sinew_hash", _INT8)])


def create_staging(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """An UNLOGGED table with the mapped columns, the source key, both hashes and landing's row id."""
    columns = [(fact.name, fact.type) for fact in plan.columns]
    keys = [(f"sinew_k{i}", type_) for i, type_ in enumerate(plan.key_types, start=1)]
    deferred = [(f"sinew_{name}", type_) for name, type_ in plan.deferred_names()]
    extras = list(zip(STAGED_EXTRAS, (_INT8, _INT8, _TID), strict=True))
    moment = [(MOMENT, _MOMENT)] if plan.windowed else []
    return _create_unlogged(staging_table(batch_id), [*columns, *keys, *deferred, *moment, *extras])


def create_python(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """An UNLOGGED table keyed by landing's row id: each function's value as text, and whether it failed."""
    columns = [(column.name, TEXT) for column in plan.python_columns]
    failed = [(f"{column.name}__failed", TEXT) for column in plan.python_columns]
    return _create_unlogged(python_table(batch_id), [("sinew_row", _TID), *columns, *failed])


def delivery_columns(plan: EntityPlan) -> list[tuple[str, PgType]]:
    """What the row ledger of a delivery has besides: ``target_hash`` is there what the API has acknowledged.

    ``sending`` and ``sending_hash``: the change and version that may be on its way, or have arrived;
    ``refused_hash``: the version that was refused last; ``receipt``: the last receipt that settled something.
    """
    if not plan.delivers:
        return []
    return [
        ("sending", TEXT),
        ("sending_hash", _INT8),
        ("refused_hash", _INT8),
        ("receipt", _INT8),
    ]


def create_row_ledger(plan: EntityPlan) -> sql.Composed:
    """The row ledger of one entity, typed like its keys."""
    keys = [(f"k{i}", type_) for i, type_ in enumerate(plan.key_types, start=1)]
    targets = [(f"t{i}", type_) for i, type_ in enumerate(plan.target_key_types, start=1)]
    columns = [*keys, *targets, *plan.deferred_names(), *delivery_columns(plan)]
    if plan.windowed:
        # When the row changed, or the lower bound of the window that brought it.
        columns.append(("moment", _MOMENT))
    return sql.SQL(
        "CREATE TABLE {table} ({columns}, state text NOT NULL CHECK (state IN "
        "('live', 'deleted', 'rejected', 'waiting', 'outside', 'kept')), source_hash bigint, target_hash bigint, "
        "batch_id bigint NOT NULL, source_version xid8, PRIMARY KEY ({key}))"
    ).format(
        table=plan.ledger,
        columns=_columns(columns),
        key=sql.SQL(", ").join(sql.Identifier(name) for name, _ in keys),
    )


_INT8 = PgType("bigint", "int8")
_MOMENT = PgType("timestamptz", "timestamptz", category="D")
_TID = PgType("tid", "tid")


def _create_unlogged(table: sql.Identifier, columns: Iterable[tuple[str, PgType]]) -> sql.Composed:
    # Nobody updates these tables, and autovacuum would only compete with the loads.
    return sql.SQL("CREATE UNLOGGED TABLE {} ({}) WITH (autovacuum_enabled = false)").format(
        table, _columns(columns)
    )


def _columns(columns: Iterable[tuple[str, PgType]]) -> sql.Composed:
    return sql.SQL(", ").join(
        # The type is format_type()'s own output, which Postgres has quoted already.
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_.sql))
        for name, type_ in columns
    )
