"""Statements of a delivery: what of staging an API lacks, what is on its way, and what it has acknowledged.

The row ledger (alias w) says what the API has: ``target_hash`` is the version that it acknowledged last, NULL
where it has none; ``sending`` marks a change that was sent, or is about to be, and has no receipt yet. Staging
(alias s) is compared with it row by row; what becomes of a staged row is its fate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import sql

from sinew.compile.bounds import ALWAYS, NEVER, Range, in_window
from sinew.compile.earlier_sql import read_later
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import AND, COMMA, equal, staged_key
from sinew.compile.table_sql import MOMENT, staging_table

# Rules under which a delivery itself tells of rows; all others are the transform's.
REFUSED, UNDELIVERABLE = "refused", "undeliverable"
# Columns of a change as the statements below select it, in the order of sinew.engine.changes.Change.
_CHANGE = (
    "SELECT ({key})::text, {change}, {version}, {values}, {entry}, w.receipt, w.sending, w.sending_hash "
    "FROM {rows} WHERE {where}"
)


def fate(plan: EntityPlan, range_: Range) -> sql.Composed:
    """What becomes of a staged row: newer (the API has a newer version), unchanged, refused, update, create.

    A row that is in doubt is never unchanged: nobody knows which version the API has.
    """
    return sql.SQL(
        "CASE WHEN {newer} THEN 'newer' "
        "WHEN w.sending IS NULL AND w.target_hash = s.sinew_target_hash AND {same} THEN 'unchanged' "
        "WHEN w.refused_hash = s.sinew_target_hash "
        "AND w.sending_hash IS DISTINCT FROM s.sinew_target_hash THEN 'refused' "
        # The record under its earlier key is still there, and was not to be deleted.
        "WHEN w.refused_hash = w.target_hash AND NOT ({same}) THEN 'refused' "
        "WHEN w.target_hash IS NOT NULL AND {same} THEN 'update' ELSE 'create' END"
    ).format(newer=_newer(range_), same=_same_target(plan))


def _newer(range_: Range) -> sql.Composable:
    if range_.kind != "window":
        return NEVER
    return sql.SQL("(w.moment > s.{})").format(sql.Identifier(MOMENT))


def _same_target(plan: EntityPlan) -> sql.Composable:
    return AND.join(
        equal("w", f"t{i}", "s", name) for i, name in enumerate(plan.target_key, start=1)
    )


def staged_entries(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """FROM clause: staged rows with their entries in the row ledger."""
    return sql.SQL("{} AS s LEFT JOIN {} AS w ON {}").format(
        staging_table(batch_id), plan.ledger, AND.join(staged_key(plan))
    )


# --- before the first request


def settle_unchanged(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Entries of rows that the API has already follow the source: when the row changed there, and its raw hash.

    Such a row belongs to the batch that delivered it, whatever came between: a refusal of another version, too.
    """
    return sql.SQL(
        "UPDATE {ledger} AS w SET state = 'live', refused_hash = NULL, source_hash = s.sinew_source_hash, "
        "moment = s.{moment}, batch_id = coalesce((SELECT r.batch_id FROM sinew.receipt AS r WHERE r.id = w.receipt "
        "AND r.status = 'accepted'), (SELECT r.batch_id FROM sinew.receipt AS r WHERE r.mapping = {mapping} "
        "AND r.entity = {entity} AND r.source_key = {source_key} AND r.status = 'accepted' "
        "ORDER BY r.id DESC LIMIT 1), w.batch_id) FROM {staging} AS s WHERE {key} AND {fate} = 'unchanged' "
        "AND (w.state <> 'live' OR w.refused_hash IS NOT NULL OR w.source_hash IS DISTINCT FROM s.sinew_source_hash "
        "OR w.moment IS DISTINCT FROM s.{moment})"
    ).format(**_followed(plan, batch_id, range_))


def settle_refused(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """The same for rows that stay refused, because they are as they were when the API refused them."""
    return sql.SQL(
        "UPDATE {ledger} AS w SET state = 'rejected', source_hash = s.sinew_source_hash, moment = s.{moment}, "
        "batch_id = {batch} FROM {staging} AS s WHERE {key} AND {fate} = 'refused' AND (w.state <> 'rejected' "
        "OR w.source_hash IS DISTINCT FROM s.sinew_source_hash OR w.moment IS DISTINCT FROM s.{moment})"
    ).format(**_followed(plan, batch_id, range_))


def _followed(plan: EntityPlan, batch_id: int, range_: Range) -> dict[str, sql.Composable]:
    return {
        "ledger": plan.ledger,
        "mapping": sql.Literal(plan.migration.name),
        "entity": sql.Literal(plan.entity.name),
        "source_key": _staged_key_json(plan),
        "batch": sql.Literal(batch_id),
        "staging": staging_table(batch_id),
        "key": AND.join(staged_key(plan)),
        "fate": fate(plan, range_),
        "moment": sql.Identifier(MOMENT),
    }


def forget_told(batch_id: int) -> sql.Composed:
    """Take back what an earlier attempt of this load told; it is told anew."""
    return sql.SQL("DELETE FROM sinew.reject WHERE batch_id = {} AND rule IN ({}, {})").format(
        *map(sql.Literal, (batch_id, REFUSED, UNDELIVERABLE))
    )


def tell_refused(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Tell of rows that stay refused, in the API's words of that time."""
    return _tell(
        plan,
        batch_id,
        sql.SQL("{} LEFT JOIN sinew.receipt AS r ON r.id = w.receipt").format(
            staged_entries(plan, batch_id)
        ),
        REFUSED,
        sql.SQL("coalesce(r.code || ': ', '') || coalesce(r.error, 'the API refused it')"),
        sql.SQL("{} = 'refused'").format(fate(plan, range_)),
    )


def tell_undeliverable(
    plan: EntityPlan, batch_id: int, range_: Range, missing: Collection[str]
) -> sql.Composed:
    """Tell of rows whose kind of change the mapping does not say how to send."""
    found = fate(plan, range_)
    reason = sql.SQL("'the mapping does not say how to ' || {} || ' it at the API'").format(found)
    where = sql.SQL("{} = ANY({})").format(found, sql.Literal(sorted(missing)))
    return _tell(plan, batch_id, staged_entries(plan, batch_id), UNDELIVERABLE, reason, where)


def tell_refused_deletions(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Tell of rows that are gone, whose deletion the API has refused."""
    return sql.SQL(
        "INSERT INTO sinew.reject (batch_id, mapping, entity, source_key, source_hash, scope, column_name, rule, "
        "reason) SELECT {batch}, {mapping}, {entity}, {key}, w.source_hash, 'row', '*', {rule}, "
        "coalesce(r.code || ': ', '') || coalesce(r.error, 'the API refused it') "
        "FROM {ledger} AS w LEFT JOIN sinew.receipt AS r ON r.id = w.receipt "
        "WHERE {gone} AND w.refused_hash = coalesce(w.target_hash, w.sending_hash)"
    ).format(
        batch=sql.Literal(batch_id),
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        key=_key_json(plan, [f"k{i}" for i in range(1, len(plan.key_types) + 1)], "w"),
        rule=sql.Literal(REFUSED),
        ledger=plan.ledger,
        gone=gone(plan, batch_id, range_),
    )


def _tell(
    plan: EntityPlan,
    batch_id: int,
    rows: sql.Composable,
    rule: str,
    reason: sql.Composable,
    where: sql.Composable,
) -> sql.Composed:
    return sql.SQL(
        "INSERT INTO sinew.reject (batch_id, mapping, entity, source_key, source_hash, scope, column_name, rule, "
        "reason) SELECT {batch}, {mapping}, {entity}, {key}, s.sinew_source_hash, 'row', '*', {rule}, {reason} "
        "FROM {rows} WHERE {where}"
    ).format(
        batch=sql.Literal(batch_id),
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        key=_staged_key_json(plan),
        rule=sql.Literal(rule),
        reason=reason,
        rows=rows,
        where=where,
    )


# --- rows that are gone from the source


def gone(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Predicate over the row ledger: the API has the row, or may, and the source no longer does where it was read."""
    same_key = AND.join(
        sql.SQL("j.source_key ->> {} = w.{}::text").format(
            sql.Literal(name), sql.Identifier(f"k{i}")
        )
        for i, name in enumerate(plan.entity.source_key, start=1)
    )
    return sql.SQL(
        "(w.target_hash IS NOT NULL OR w.sending IS NOT NULL) AND {in_window} AND NOT {later} "
        "AND NOT EXISTS (SELECT FROM {staging} AS s WHERE {staged}) "
        "AND NOT EXISTS (SELECT FROM sinew.reject AS j WHERE j.batch_id = {batch} AND j.scope = 'row' "
        "AND j.rule NOT IN ({refused}, {undeliverable}) AND {same_key})"
    ).format(
        in_window=in_window(sql.SQL("w.moment"), range_) if range_.kind == "window" else ALWAYS,
        later=read_later(batch_id),
        staging=staging_table(batch_id),
        staged=AND.join(staged_key(plan)),
        batch=sql.Literal(batch_id),
        refused=sql.Literal(REFUSED),
        undeliverable=sql.Literal(UNDELIVERABLE),
        same_key=same_key,
    )


def count_gone(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Rows that are gone, and all that the API has where this run looked."""
    # Each count by itself: as the filter of one, the search for staged rows would run once for every entry.
    return sql.SQL(
        "SELECT (SELECT count(*) FROM {ledger} AS w WHERE {gone}), (SELECT count(*) FROM {ledger} AS w "
        "WHERE (w.target_hash IS NOT NULL OR w.sending IS NOT NULL) AND {in_window})"
    ).format(
        gone=gone(plan, batch_id, range_),
        ledger=plan.ledger,
        in_window=in_window(sql.SQL("w.moment"), range_) if range_.kind == "window" else ALWAYS,
    )


# --- changes


def select_changes(
    plan: EntityPlan, batch_id: int, range_: Range, kinds: Sequence[str], *, doubtful: bool = False
) -> sql.Composed:
    """Staged rows to be sent, in key order; with ``doubtful`` just those that may have been sent already."""
    found = fate(plan, range_)
    where = sql.SQL("w.sending IS {} AND {} = ANY({})").format(
        sql.SQL("NOT NULL" if doubtful else "NULL"), found, sql.Literal(list(kinds))
    )
    return sql.SQL(_CHANGE + " ORDER BY {order}").format(
        key=_staged_key_json(plan),
        change=found,
        version=sql.SQL("s.sinew_target_hash"),
        values=_staged_values(plan),
        entry=_staged_entry(plan),
        rows=staged_entries(plan, batch_id),
        where=where,
        order=_order("s", "sinew_k", plan),
    )


def select_deletions(
    plan: EntityPlan, batch_id: int, range_: Range, *, doubtful: bool = False
) -> sql.Composed:
    """Rows that are gone, in key order; the values of their target key alone are known."""
    where = sql.SQL(
        "w.sending IS {} AND (w.refused_hash = coalesce(w.target_hash, w.sending_hash)) IS NOT TRUE AND {}"
    ).format(sql.SQL("NOT NULL" if doubtful else "NULL"), gone(plan, batch_id, range_))
    return _deletions(plan, sql.SQL("{} AS w").format(plan.ledger), where, _HAD)


def select_moved(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Rows whose target key is another one now: the record under the old one is to be deleted first."""
    rows = sql.SQL("{} AS s JOIN {} AS w ON {}").format(
        staging_table(batch_id), plan.ledger, AND.join(staged_key(plan))
    )
    where = sql.SQL(
        "w.sending IS NULL AND w.target_hash IS NOT NULL AND (w.refused_hash = w.target_hash) IS NOT TRUE "
        "AND NOT ({}) AND {} = 'create'"
    ).format(_same_target(plan), fate(plan, range_))
    return _deletions(plan, rows, where, _HAD)


_HAD = sql.SQL("coalesce(w.target_hash, w.sending_hash)")


def _deletions(
    plan: EntityPlan, rows: sql.Composable, where: sql.Composable, version: sql.Composable
) -> sql.Composed:
    keys = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    targets = [f"t{i}" for i in range(1, len(plan.target_key) + 1)]
    values = [
        (sql.Identifier("w", t), name) for t, name in zip(targets, plan.target_key, strict=True)
    ]
    entry = [(sql.Identifier("w", name), name) for name in [*keys, *targets]]
    return sql.SQL(_CHANGE + " ORDER BY {order}").format(
        key=_key_json(plan, keys, "w"),
        change=sql.SQL("'delete'"),
        version=version,
        values=_object(values),
        entry=_object(entry),
        rows=rows,
        where=where,
        order=_order("w", "k", plan),
    )


def select_delivered(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Rows that this batch has brought to the API, or up to date there, as they are staged."""
    where = sql.SQL(
        "w.batch_id = {} AND w.state = 'live' AND w.target_hash = s.sinew_target_hash"
    ).format(sql.Literal(batch_id))
    return sql.SQL(_CHANGE).format(
        key=_staged_key_json(plan),
        change=sql.SQL("'update'"),
        version=sql.SQL("s.sinew_target_hash"),
        values=_staged_values(plan),
        entry=_staged_entry(plan),
        rows=staged_entries(plan, batch_id),
        where=where,
    )


def select_deleted(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Rows that this batch has deleted at the API, with the version that it had."""
    rows = sql.SQL("{} AS w JOIN sinew.receipt AS r ON r.id = w.receipt").format(plan.ledger)
    where = sql.SQL("w.batch_id = {} AND w.state = 'deleted'").format(sql.Literal(batch_id))
    return _deletions(plan, rows, where, sql.SQL("r.version"))


def _order(alias: str, prefix: str, plan: EntityPlan) -> sql.Composed:
    return COMMA.join(
        sql.Identifier(alias, f"{prefix}{i}") for i in range(1, len(plan.key_types) + 1)
    )


def _staged_key_json(plan: EntityPlan) -> sql.Composed:
    return _key_json(plan, [f"sinew_k{i}" for i in range(1, len(plan.key_types) + 1)], "s")


def _key_json(plan: EntityPlan, names: Sequence[str], alias: str) -> sql.Composed:
    """The source key as rejects and receipts keep it: a jsonb object of texts."""
    pairs = COMMA.join(
        sql.SQL("{}::text, {}::text").format(sql.Literal(key), sql.Identifier(alias, name))
        for key, name in zip(plan.entity.source_key, names, strict=True)
    )
    return sql.SQL("jsonb_build_object({})").format(pairs)


def _staged_values(plan: EntityPlan) -> sql.Composed:
    return _object([(sql.Identifier("s", fact.name), fact.name) for fact in plan.columns])


def _staged_entry(plan: EntityPlan) -> sql.Composed:
    columns = [(f"sinew_k{i}", f"k{i}") for i in range(1, len(plan.key_types) + 1)]
    columns += [(name, f"t{i}") for i, name in enumerate(plan.target_key, start=1)]
    columns += [("sinew_source_hash", "source_hash"), (MOMENT, "moment")]
    return _object([(sql.Identifier("s", name), as_) for name, as_ in columns])


def _object(columns: Sequence[tuple[sql.Composable, str]]) -> sql.Composed:
    """A JSON object as text, each value as Postgres itself writes it: numbers exact, moments in ISO 8601."""
    inner = COMMA.join(
        sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for value, name in columns
    )
    return sql.SQL("(SELECT row_to_json(o)::text FROM (SELECT {}) AS o)").format(inner)
