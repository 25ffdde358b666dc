"""Statements of load and validate: staging to target and row ledger, and the proof that they agree."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sinew.compile.bounds import Range, earlier_phases, within
from sinew.compile.column_values import KEYLESS_KEY
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.table_sql import staging_table

COMMA = sql.SQL(", ")
AND = sql.SQL(" AND ")

# Entries whose target row an earlier load brought and that is still there.
_HELD = sql.SQL(
    "(w.state IN ('live', 'rejected') OR w.state = 'deleted' AND w.target_hash IS NOT NULL)"
)


def ledger_range(plan: EntityPlan, range_: Range, alias: str = "w") -> sql.Composable:
    """Predicate over the row ledger: its key lies in the batch's range."""
    keys = [sql.Identifier(alias, f"k{i}") for i in range(1, len(plan.key_types) + 1)]
    return within(keys, plan.key_types, range_)


def range_has_entries(plan: EntityPlan, range_: Range) -> sql.Composed:
    """Whether the row ledger holds any entry, of whatever state, in the range."""
    return sql.SQL("SELECT EXISTS (SELECT FROM {} AS w WHERE {})").format(
        plan.ledger, ledger_range(plan, range_)
    )


# --- target


def insert_target(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Plain INSERT of every staged row: for a range that is known to be empty."""
    return sql.SQL(
        "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS s"
    ).format(plan.target, _names(plan), _names(plan, "s"), staging_table(batch_id))


def upsert_target(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """INSERT, or UPDATE of the row that has the same target key."""
    return sql.SQL("{} ON CONFLICT ({}) {}").format(
        insert_target(plan, batch_id),
        COMMA.join(map(sql.Identifier, plan.target_key)),
        _update(plan),
    )


def _update(plan: EntityPlan) -> sql.Composable:
    """What becomes of a row that is there: all but its key is set.

    A table of nothing but a key is set to what it is, so that its rows are counted as loaded too.
    An identity that the target always gives cannot be set.
    """
    own = [fact.name for fact in plan.columns if fact.identity != "a"]
    names = [name for name in own if name not in plan.target_key] or own[:1]
    return sql.SQL("DO UPDATE SET {}").format(_excluded(names)) if names else sql.SQL("DO NOTHING")


def insert_target_keeping(plan: EntityPlan, batch_id: int, *, fresh: bool) -> sql.Composed:
    """INSERT of rows whose target key is free, UPDATE of those that an earlier load of the same source row brought.

    Their keys go to the temporary table sinew_new. ``fresh``: there was no earlier load. Updated in their place,
    for other tables may refer to them.
    """
    action: sql.Composable = sql.SQL("DO NOTHING")
    if not fresh:
        action = sql.SQL("{} WHERE EXISTS ({})").format(_update(plan), _brought(plan, batch_id))
    returned = COMMA.join(
        sql.SQL("t.{} AS {}").format(sql.Identifier(name), sql.Identifier(f"t{i}"))
        for i, name in enumerate(plan.target_key, start=1)
    )
    return sql.SQL(
        "WITH added AS ({} ON CONFLICT ({}) {} RETURNING {}) INSERT INTO sinew_new SELECT * FROM added"
    ).format(
        insert_target(plan, batch_id),
        COMMA.join(map(sql.Identifier, plan.target_key)),
        action,
        returned,
    )


def _brought(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """SELECT: this target row (alias t) was brought by an earlier load of the source row that is staged for it."""
    return sql.SQL("SELECT FROM {} AS w JOIN {} AS s ON {} WHERE {} AND {}").format(
        plan.ledger,
        staging_table(batch_id),
        AND.join(_staged_key(plan)),
        _ledger_target(plan),
        _HELD,
    )


def create_new_keys(plan: EntityPlan) -> sql.Composed:
    """The temporary table of target keys that this load has inserted."""
    columns = COMMA.join(
        sql.SQL("{} {}").format(sql.Identifier(f"t{i}"), sql.SQL(type_.sql))
        for i, type_ in enumerate(plan.target_key_types, start=1)
    )
    return sql.SQL("CREATE TEMPORARY TABLE sinew_new ({}) ON COMMIT DROP").format(columns)


def foreign_target_rows(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Number of staged target keys that a row holds which this entity's ledger does not know.

    A row that is to be taken out, because its source row vanished, leaves its key to the one that is staged.
    """
    return sql.SQL(
        "SELECT count(*) FROM {staging} AS s JOIN {target} AS t ON {same} WHERE NOT EXISTS "
        "(SELECT FROM {ledger} AS w WHERE {own} AND ({held} OR w.state = 'kept')) AND NOT EXISTS "
        "(SELECT FROM {ledger} AS w WHERE {same_target} AND w.state = 'deleted' AND w.target_hash IS NOT NULL)"
    ).format(
        same_target=AND.join(_staged_target_key(plan)),
        held=_HELD,
        staging=staging_table(batch_id),
        target=plan.target,
        same=AND.join(equal("s", name, "t", name) for name in plan.target_key),
        ledger=plan.ledger,
        own=AND.join([*_staged_key(plan), *_staged_target_key(plan)]),
    )


def _staged_key(plan: EntityPlan) -> list[sql.Composable]:
    return [equal("w", f"k{i}", "s", f"sinew_k{i}") for i in range(1, len(plan.key_types) + 1)]


def _staged_target_key(plan: EntityPlan) -> list[sql.Composable]:
    return [equal("w", f"t{i}", "s", name) for i, name in enumerate(plan.target_key, start=1)]


# --- row ledger


def insert_ledger(plan: EntityPlan, batch_id: int, *, keeping: bool = False) -> sql.Composed:
    """One entry for every staged row; with ``keeping``, rows that the target had already are 'kept'."""
    names, values = _ledger_row(plan, batch_id, keeping)
    joined: sql.Composable = sql.SQL("")
    if keeping:
        same = AND.join(
            sql.SQL("n.{} = s.{}").format(sql.Identifier(f"t{i}"), sql.Identifier(name))
            for i, name in enumerate(plan.target_key, start=1)
        )
        joined = sql.SQL(" LEFT JOIN sinew_new AS n ON {}").format(same)
    return sql.SQL("INSERT INTO {} AS w ({}) SELECT {} FROM {} AS s{}").format(
        plan.ledger, names, values, staging_table(batch_id), joined
    )


def upsert_ledger(plan: EntityPlan, batch_id: int, *, keeping: bool = False) -> sql.Composed:
    """The same, over entries that exist; a change's version is never lowered or cleared."""
    changed = [f"t{i}" for i in range(1, len(plan.target_key) + 1)]
    changed += [name for name, _ in plan.deferred_names()]
    changed += ["state", "source_hash", "target_hash", "batch_id"]
    return sql.SQL("{} ON CONFLICT ({}) DO UPDATE SET {}").format(
        insert_ledger(plan, batch_id, keeping=keeping), _ledger_key(plan), _excluded(changed)
    )


def _ledger_row(
    plan: EntityPlan, batch_id: int, keeping: bool
) -> tuple[sql.Composable, sql.Composable]:
    state = sql.SQL("'live'")
    if keeping:
        state = sql.SQL("CASE WHEN n.t1 IS NULL THEN 'kept' ELSE 'live' END")
    pairs: list[tuple[str, sql.Composable]] = [
        *((f"k{i}", sql.Identifier("s", f"sinew_k{i}")) for i in range(1, len(plan.key_types) + 1)),
        *((f"t{i}", sql.Identifier("s", name)) for i, name in enumerate(plan.target_key, start=1)),
        *((name, sql.Identifier("s", f"sinew_{name}")) for name, _ in plan.deferred_names()),
        ("state", state),
        ("source_hash", sql.SQL("s.sinew_source_hash")),
        ("target_hash", sql.SQL("s.sinew_target_hash")),
        ("batch_id", sql.Literal(batch_id)),
    ]
    return COMMA.join(sql.Identifier(name) for name, _ in pairs), COMMA.join(
        value for _, value in pairs
    )


def upsert_rejected(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Entries for rejected rows. A row that is in the target keeps its last good version and its target key.

    A row that was kept is the target's own: the entry lets go of it.
    """
    held = [f"t{i}" for i in range(1, len(plan.target_key) + 1)] + ["target_hash"]
    released = COMMA.join(
        sql.SQL("{0} = CASE WHEN w.state <> 'kept' THEN w.{0} END").format(sql.Identifier(name))
        for name in held
    )
    names = plan.entity.source_key or KEYLESS_KEY
    keys = COMMA.join(
        sql.SQL("(j.source_key ->> {})::{}").format(sql.Literal(name), sql.SQL(type_.sql))
        for name, type_ in zip(names, plan.key_types, strict=True)
    )
    return sql.SQL(
        "INSERT INTO {ledger} AS w ({key}, state, source_hash, batch_id) "
        "SELECT {values}, 'rejected', j.source_hash, j.batch_id FROM sinew.reject AS j "
        "WHERE j.batch_id = {batch} AND j.scope = 'row' AND j.rule <> 'null_key' "
        "ON CONFLICT ({key}) DO UPDATE SET {updates}, {released}"
    ).format(
        released=released,
        ledger=plan.ledger,
        key=_ledger_key(plan),
        values=keys,
        batch=sql.Literal(batch_id),
        updates=_excluded(["state", "source_hash", "batch_id"]),
    )


def _ledger_key(plan: EntityPlan) -> sql.Composed:
    return COMMA.join(sql.Identifier(f"k{i}") for i in range(1, len(plan.key_types) + 1))


def _excluded(names: Sequence[str]) -> sql.Composed:
    return COMMA.join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names)


# --- rows of an earlier load of the same range


def delete_moved(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Delete target rows whose source row is now mapped to another target key."""
    differs = sql.SQL(" OR ").join(
        sql.SQL("w.{} IS DISTINCT FROM s.{}").format(sql.Identifier(f"t{i}"), sql.Identifier(name))
        for i, name in enumerate(plan.target_key, start=1)
    )
    return sql.SQL(
        "DELETE FROM {} AS t USING {} AS w, {} AS s WHERE {} AND {} AND {} AND {} AND ({})"
    ).format(
        plan.target,
        plan.ledger,
        staging_table(batch_id),
        _ledger_target(plan),
        AND.join(_staged_key(plan)),
        _HELD,
        ledger_range(plan, range_),
        differs,
    )


def delete_vanished(plan: EntityPlan, batch_id: int, phase: str, range_: Range) -> sql.Composed:
    """Delete target rows that an earlier load of this phase brought and that the source no longer has."""
    return sql.SQL("DELETE FROM {} AS t USING {} AS w WHERE {} AND {}").format(
        plan.target, plan.ledger, _ledger_target(plan), _vanished(plan, batch_id, phase, range_)
    )


def mark_vanished(
    plan: EntityPlan, batch_id: int, phase: str, range_: Range, *, gone: bool
) -> sql.Composed:
    """Leave a tombstone for each of them, which keeps its target key.

    Unless they are ``gone`` from the target the tombstone keeps the hash too, and by that its claim to the target
    row, until ``delete_marked`` takes the row out. A row that was kept is the target's own and stays.
    """
    kept_hash = "CASE WHEN w.state = 'kept' THEN NULL ELSE w.target_hash END"
    return sql.SQL(
        "UPDATE {} AS w SET state = 'deleted', batch_id = {}, target_hash = {} WHERE {}"
    ).format(
        plan.ledger,
        sql.Literal(batch_id),
        sql.SQL("NULL") if gone else sql.SQL(kept_hash),
        _vanished(plan, batch_id, phase, range_, states=("live", "rejected", "kept")),
    )


def delete_marked(plan: EntityPlan) -> sql.Composed:
    """Delete target rows whose tombstone still claims them, unless a living entry claims the row as well."""
    same = AND.join(
        sql.SQL("o.{0} = w.{0}").format(sql.Identifier(f"t{i}"))
        for i in range(1, len(plan.target_key) + 1)
    )
    ledgers = [plan.ledger, *(ledger_of(plan.migration, name) for name in plan.sharing)]
    claimed = sql.SQL(" OR ").join(
        sql.SQL("EXISTS (SELECT FROM {} AS o WHERE {} AND o.state <> 'deleted')").format(
            ledger, same
        )
        for ledger in ledgers
    )
    return sql.SQL(
        "DELETE FROM {} AS t USING {} AS w WHERE {} AND w.state = 'deleted' AND w.target_hash IS NOT NULL "
        "AND NOT ({})"
    ).format(plan.target, plan.ledger, _ledger_target(plan), claimed)


def release_marked(plan: EntityPlan) -> sql.Composed:
    """Let tombstones go of the target rows that were taken out."""
    return sql.SQL(
        "UPDATE {} SET target_hash = NULL WHERE state = 'deleted' AND target_hash IS NOT NULL"
    ).format(plan.ledger)


def _vanished(
    plan: EntityPlan,
    batch_id: int,
    phase: str,
    range_: Range,
    states: Sequence[str] = ("live", "rejected"),
) -> sql.Composed:
    """Predicate over the row ledger: this phase answers for the row, and this batch has not read it.

    The last phase answers for all that no other phase of the mapping does.
    """
    last = phase == plan.migration.phases[-1].name
    others = earlier_phases(plan.migration, phase)
    brought = sql.SQL(
        "w.batch_id {} (SELECT id FROM sinew.batch WHERE mapping = {} AND entity = {} AND phase = ANY({}))"
    ).format(
        sql.SQL("NOT IN" if last else "IN"),
        sql.Literal(plan.migration.name),
        sql.Literal(plan.entity.name),
        sql.Literal(others if last else [phase]),
    )
    same_key = sql.SQL(" AND ").join(
        sql.SQL("j.source_key ->> {} = w.{}::text").format(
            sql.Literal(name), sql.Identifier(f"k{i}")
        )
        for i, name in enumerate(plan.entity.source_key or KEYLESS_KEY, start=1)
    )
    return sql.SQL(
        "{in_range} AND w.state = ANY({states}) AND {brought} "
        "AND NOT EXISTS (SELECT FROM {staging} AS s WHERE {staged}) "
        "AND NOT EXISTS (SELECT FROM sinew.reject AS j WHERE j.batch_id = {batch} AND j.scope = 'row' AND {same_key})"
    ).format(
        in_range=ledger_range(plan, range_),
        states=sql.Literal(list(states)),
        brought=brought,
        staging=staging_table(batch_id),
        staged=AND.join(_staged_key(plan)),
        batch=sql.Literal(batch_id),
        same_key=same_key,
    )


def delete_plain_rows(plan: EntityPlan) -> sql.Composed:
    """Delete what earlier loads brought into a target without a key, before all of it is loaded again.

    All rows where the table is this entity's alone; otherwise as many rows of each hash as the row ledger says,
    and which of several equal rows go makes no difference.
    """
    if plan.alone:
        return sql.SQL("DELETE FROM {}").format(plan.target)
    # A row of a partitioned table is told by its partition and its place there.
    return sql.SQL(
        "DELETE FROM {target} AS t USING "
        "(SELECT r.tableoid AS part, r.ctid AS place, {hash} AS hash, "
        "row_number() OVER (PARTITION BY {hash}) AS n FROM {target} AS r OFFSET 0) AS d JOIN "
        "(SELECT target_hash AS hash, count(*) AS n FROM {ledger} WHERE state = 'live' GROUP BY 1) AS w "
        "ON w.hash = d.hash AND d.n <= w.n WHERE t.tableoid = d.part AND t.ctid = d.place"
    ).format(target=plan.target, hash=plan.target_hash("r"), ledger=plan.ledger)


def delete_ledger(plan: EntityPlan) -> sql.Composed:
    """Forget every entry of a keyless entity, before all of them are made again."""
    return sql.SQL("DELETE FROM {}").format(plan.ledger)


# --- validate


def target_evidence(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """This batch's live entries joined to their target rows.

    Result: entries, rows found, sum of the ledger's hashes, sum of hashes computed from the target, rows that differ.
    """
    return sql.SQL(
        "SELECT count(*), count(t.{first}), coalesce(sum(w.target_hash), 0), "
        "coalesce(sum({hash}) FILTER (WHERE t.{first} IS NOT NULL), 0), "
        "count(*) FILTER (WHERE t.{first} IS NULL OR w.target_hash IS DISTINCT FROM {hash}) "
        "FROM {ledger} AS w LEFT JOIN {target} AS t ON {same} "
        "WHERE w.batch_id = {batch} AND w.state = 'live' AND {in_range}"
    ).format(
        first=sql.Identifier(plan.target_key[0]),
        hash=plan.target_hash("t"),
        ledger=plan.ledger,
        target=plan.target,
        same=_ledger_target(plan),
        batch=sql.Literal(batch_id),
        in_range=ledger_range(plan, range_),
    )


def plain_target_evidence(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """The same for a target without a key: each hash is there at least as often as the ledger says.

    Other rows may be there too: of another entity, or the target's own.
    """
    return sql.SQL(
        "WITH w AS (SELECT target_hash AS h, count(*) AS n FROM {ledger} "
        "WHERE batch_id = {batch} AND state = 'live' GROUP BY 1), "
        "t AS (SELECT {hash} AS h, count(*) AS n FROM {target} AS t GROUP BY 1) "
        "SELECT coalesce(sum(w.n), 0)::bigint, coalesce(sum(least(w.n, t.n)), 0)::bigint, "
        "coalesce(sum(w.h::numeric * w.n), 0), coalesce(sum(t.h::numeric * least(w.n, t.n)), 0), "
        "coalesce(sum(greatest(w.n - coalesce(t.n, 0), 0)), 0)::bigint FROM w LEFT JOIN t ON t.h = w.h"
    ).format(
        ledger=plan.ledger,
        batch=sql.Literal(batch_id),
        hash=plan.target_hash("t"),
        target=plan.target,
    )


def _ledger_target(plan: EntityPlan) -> sql.Composed:
    return AND.join(
        equal("t", name, "w", f"t{i}") for i, name in enumerate(plan.target_key, start=1)
    )


def equal(left: str, left_name: str, right: str, right_name: str) -> sql.Composed:
    """Predicate: two columns, each under its alias, are equal."""
    return sql.SQL("{} = {}").format(
        sql.Identifier(left, left_name), sql.Identifier(right, right_name)
    )


def _names(plan: EntityPlan, alias: str | None = None) -> sql.Composed:
    prefix = [alias] if alias else []
    return COMMA.join(sql.Identifier(*prefix, fact.name) for fact in plan.columns)
