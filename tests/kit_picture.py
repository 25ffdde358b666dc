"""All that a migration leaves, in a form that two runs can be compared by; and what is half done."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sinew.compile.entity_plan import ledger_of
from sinew.engine.steps import Context
from sinew.spec.columns import KeyColumn, RefColumn
from sinew.spec.models import Migration


def picture(context: Context) -> dict[str, list[str]]:
    """Rows of every target, row ledger, reject, batch and phase, as sorted texts.

    Numbers that depend on how often something was tried are left out: a batch is named by its range, and a key that
    the target gave (identity) by the source key of its row.
    """
    with psycopg.connect(context.home.conninfo, autocommit=True) as conn:
        found = {}
        given = _given_keys(context.migration)
        for name, entity in context.migration.entities.items():
            target = sql.Identifier(context.migration.target.schema_name, entity.into)
            found[f"target {name}"] = _rows(
                conn, _of_target(context.migration, target, given[name])
            )
            found[f"row ledger {name}"] = _rows(
                conn, _of_ledger(context.migration, name, given[name])
            )
        found["rejects"] = _rows(conn, _REJECTS)
        found["batches"] = _rows(conn, _BATCHES)
        found["phases"] = _rows(conn, sql.SQL("SELECT name || ' ' || state FROM sinew.phase"))
        found["left in staging"] = _rows(
            conn,
            sql.SQL(
                "SELECT relname FROM pg_class WHERE relnamespace = 'sinew_stage'::regnamespace"
            ),
        )
        return found


_BATCH = sql.SQL("jsonb_build_array(b.entity, b.phase, b.kind, b.lower, b.upper)")
_REJECTS = sql.SQL(
    "SELECT (to_jsonb(j) - 'batch_id' || jsonb_build_object('batch', {}))::text "
    "FROM sinew.reject AS j JOIN sinew.batch AS b ON b.id = j.batch_id"
).format(_BATCH)
# Every batch has a promotion of the very data that it was loaded from.
_BATCHES = sql.SQL(
    "SELECT jsonb_build_array({}, b.state, b.source_rows, b.elsewhere_rows, b.staged_rows, b.rejected_rows, "
    "b.loaded_rows, b.kept_rows, b.deleted_rows, b.source_hash, p.staging_hash = b.staging_hash)::text "
    "FROM sinew.batch AS b LEFT JOIN sinew.promotion AS p ON p.batch_id = b.id"
).format(_BATCH)


def _rows(conn: psycopg.Connection, query: sql.Composable) -> list[str]:
    return sorted(str(row[0]) for row in conn.execute(query))


def _given_keys(migration: Migration) -> dict[str, dict[str, tuple[str, int]]]:
    """Columns of each entity whose value the target gave: (entity that it was given to, place in its target key)."""
    found: dict[str, dict[str, tuple[str, int]]] = {name: {} for name in migration.entities}
    for name in migration.entity_order:
        entity = migration.entities[name]
        for column in entity.columns.values():
            if isinstance(column, KeyColumn) and column.strategy == "identity":
                found[name][column.name] = (name, entity.target_key.index(column.name) + 1)
            elif isinstance(column, RefColumn):
                taken = column.take or migration.entities[column.entity].target_key[0]
                if taken in found[column.entity]:
                    found[name][column.name] = found[column.entity][taken]
    return found


def _of_target(
    migration: Migration, target: sql.Composable, given: dict[str, tuple[str, int]]
) -> sql.Composable:
    row: list[sql.Composable] = [sql.SQL("to_jsonb(r)")]
    for column, (owner, place) in given.items():
        row.append(
            sql.SQL(
                "jsonb_build_object({}, (SELECT w.k1::text FROM {} AS w WHERE w.{} = r.{}))"
            ).format(
                sql.Literal(column),
                ledger_of(migration, owner),
                sql.Identifier(f"t{place}"),
                sql.Identifier(column),
            )
        )
    return sql.SQL("SELECT ({})::text FROM {} AS r").format(sql.SQL(" || ").join(row), target)


def _of_ledger(
    migration: Migration, name: str, given: dict[str, tuple[str, int]]
) -> sql.Composable:
    keys = migration.entities[name].target_key
    dropped = ["batch_id", *(f"t{i}" for i, key in enumerate(keys, start=1) if key in given)]
    # A given key is part of the row's hash.
    dropped += ["target_hash"] if given else []
    return sql.SQL(
        "SELECT (to_jsonb(w) - {}::text[] || jsonb_build_object('batch', {}))::text FROM {} AS w "
        "JOIN sinew.batch AS b ON b.id = w.batch_id"
    ).format(sql.Literal(dropped), _BATCH, ledger_of(migration, name))


def half_done(context: Context) -> list[str]:
    """Batches whose record and rows disagree at this moment, whatever the moment is; each entity in one snapshot."""
    found = []
    with psycopg.connect(context.home.conninfo, autocommit=True) as conn:
        for name, entity in context.migration.entities.items():
            ledger_name = f"sinew_rows.{context.migration.name}__{name}"
            if conn.execute("SELECT to_regclass(%s)", (ledger_name,)).fetchone() == (None,):
                continue
            query = _HALF_DONE.format(
                ledger=ledger_of(context.migration, name),
                target=sql.Identifier(context.migration.target.schema_name, entity.into),
                entity=sql.Literal(name),
                # A later phase reads all rows of an entity without a key again, and takes over their entries.
                differ=sql.SQL(">" if entity.keyless else "<>"),
            )
            found += [f"{name}: {row[0]}" for row in conn.execute(query)]
    return found


_HALF_DONE = sql.SQL(
    """
    WITH entry AS (
        SELECT batch_id, count(*) AS n FROM {ledger} WHERE state IN ('live', 'kept') GROUP BY 1
    )
    SELECT 'batch ' || b.id || ' is ' || b.state || ' with ' || coalesce(e.n, 0) || ' entries, '
        || coalesce(b.loaded_rows, 0) || ' loaded'
    FROM sinew.batch AS b LEFT JOIN entry AS e ON e.batch_id = b.id
    WHERE b.entity = {entity} AND (
        coalesce(e.n, 0) {differ} coalesce(b.loaded_rows, 0) + coalesce(b.kept_rows, 0)
        OR EXISTS (SELECT FROM sinew.promotion AS p WHERE p.batch_id = b.id) <> (b.loaded_rows IS NOT NULL))
    UNION ALL
    SELECT 'the target has ' || t.n || ' rows, the row ledger ' || w.n
    FROM (SELECT count(*) AS n FROM {target}) AS t, (SELECT count(*) AS n FROM {ledger} WHERE state = 'live') AS w
    WHERE t.n <> w.n
    """
)
