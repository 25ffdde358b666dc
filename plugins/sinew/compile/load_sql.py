"""Statements of load and validate: staging to target and row ledger, and the proof that they agree."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sinew.compile.bounds import ALWAYS, Range, within
from sinew.compile.column_values import KEYLESS_KEY
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.table_sql import MOMENT, staging_table
from sinew.spec.columns import KeyColumn
from sinew.spec.sync import Mark, SyncEntity

COMMA = sql.SQL(", ")
AND = sql.SQL(" AND ")

# Entries whose target row an earlier load brought and that is still there.
HELD = sql.SQL(
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
    updates = [_excluded(names)] if names else []
    updates += [sql.SQL("{} = DEFAULT").format(sql.Identifier(name)) for name in _marks(plan)]
    return (
        sql.SQL("DO UPDATE SET {}").format(COMMA.join(updates))
        if updates
        else sql.SQL("DO NOTHING")
    )


def _marks(plan: EntityPlan) -> list[str]:
    """The column that marks what is gone, which a row that is back loses."""
    mark = plan.entity.vanished if isinstance(plan.entity, SyncEntity) else None
    return [mark.mark] if isinstance(mark, Mark) else []


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
        AND.join(staged_key(plan)),
        ledger_target(plan),
        HELD,
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
        held=HELD,
        staging=staging_table(batch_id),
        target=plan.target,
        same=AND.join(equal("s", name, "t", name) for name in plan.target_key),
        ledger=plan.ledger,
        own=AND.join([*staged_key(plan), *_staged_target_key(plan)]),
    )


def staged_key(plan: EntityPlan) -> list[sql.Composable]:
    """Predicates: a row ledger's entry (alias w) is that of a staged row (alias s)."""
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
    changed += ["moment"] if plan.windowed else []
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
    if plan.windowed:
        pairs.append(("moment", sql.Identifier("s", MOMENT)))
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


# --- validate


def range_evidence(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """This batch's live entries, and apart from them the target's rows in its range.

    Result: entries, the sum of their hashes, rows, the sum of hashes computed from them. A hash is over the whole
    row, so that equal numbers and sums mean equal rows. For a target whose range is known.
    """
    return sql.SQL(
        "SELECT w.*, t.* FROM (SELECT count(*), coalesce(sum(w.target_hash), 0) FROM {ledger} AS w "
        "WHERE w.batch_id = {batch} AND w.state = 'live' AND {in_range}) AS w, "
        "(SELECT count(*), coalesce(sum({hash}), 0) FROM {target} AS t WHERE {target_range}) AS t"
    ).format(
        hash=plan.target_hash("t"),
        ledger=plan.ledger,
        target=plan.target,
        target_range=target_range(plan, range_),
        batch=sql.Literal(batch_id),
        in_range=ledger_range(plan, range_),
    )


def target_evidence(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """This batch's live entries joined to their target rows.

    Result: entries, rows found, sum of the ledger's hashes, sum of hashes computed from the target, rows that differ.
    """
    # OFFSET 0 keeps the planner from hashing each row once more for every use of its hash.
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE found), coalesce(sum(wanted), 0), "
        "coalesce(sum(hash) FILTER (WHERE found), 0), "
        "count(*) FILTER (WHERE NOT found OR wanted IS DISTINCT FROM hash) FROM "
        "(SELECT w.target_hash AS wanted, t.{first} IS NOT NULL AS found, {hash} AS hash "
        "FROM {ledger} AS w LEFT JOIN {target} AS t ON {same} AND {target_range} "
        "WHERE w.batch_id = {batch} AND w.state = 'live' AND {in_range} OFFSET 0) AS pairs"
    ).format(
        first=sql.Identifier(plan.target_key[0]),
        hash=plan.target_hash("t"),
        ledger=plan.ledger,
        target=plan.target,
        same=ledger_target(plan),
        target_range=target_range(plan, range_),
        batch=sql.Literal(batch_id),
        in_range=ledger_range(plan, range_),
    )


def target_range(plan: EntityPlan, range_: Range) -> sql.Composable:
    """Predicate over the target (alias t) that holds for every row of the batch.

    Where the target's key is the source's, copied, it is the batch's range: without it each batch
    would read the whole table. Elsewhere nothing is known.
    """
    types = {fact.name: fact.type.sql for fact in plan.columns}
    copies = {}
    for name in plan.target_key:
        column = plan.entity.columns[name]
        if isinstance(column, KeyColumn) and column.strategy == "copy" and not column.do:
            copies[column.column or plan.entity.source_key[0]] = name
    wanted = list(zip(plan.entity.source_key, plan.key_types, strict=False))
    if plan.keyless or any(
        key not in copies or types[copies[key]] != type_.sql for key, type_ in wanted
    ):
        return ALWAYS
    columns = [sql.Identifier("t", copies[key]) for key, _ in wanted]
    return within(columns, plan.key_types, range_)


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


def ledger_target(plan: EntityPlan) -> sql.Composed:
    """Predicate: a target row (alias t) is that of a row ledger's entry (alias w)."""
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
