"""Statements that take out what an earlier load of the same rows brought."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sinew.compile.bounds import ALWAYS, NEVER, Range, earlier_phases, in_window
from sinew.compile.column_values import KEYLESS_KEY
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.load_sql import AND, HELD, ledger_range, ledger_target, staged_key
from sinew.compile.table_sql import staging_table


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
        ledger_target(plan),
        AND.join(staged_key(plan)),
        HELD,
        ledger_range(plan, range_),
        differs,
    )


def delete_vanished(plan: EntityPlan, batch_id: int, phase: str, range_: Range) -> sql.Composed:
    """Delete target rows that an earlier load of this phase brought and that the source no longer has."""
    return sql.SQL("DELETE FROM {} AS t USING {} AS w WHERE {} AND {}").format(
        plan.target, plan.ledger, ledger_target(plan), vanished(plan, batch_id, phase, range_)
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
        vanished(plan, batch_id, phase, range_, states=("live", "rejected", "kept")),
    )


def select_marked(plan: EntityPlan) -> sql.Composed:
    """Tombstones that still claim a target row."""
    return sql.SQL(
        "SELECT w.ctid FROM {} AS w WHERE w.state = 'deleted' AND w.target_hash IS NOT NULL"
    ).format(plan.ledger)


def _among(tombstones: Sequence[str] | None) -> sql.Composable:
    if tombstones is None:
        return ALWAYS
    return sql.SQL("w.ctid = ANY({}::tid[])").format(sql.Literal(list(tombstones)))


def delete_marked(plan: EntityPlan, tombstones: Sequence[str] | None = None) -> sql.Composed:
    """Delete target rows whose tombstone still claims them, unless a living entry claims the row as well.

    ``tombstones`` says which, by their place in the row ledger; default: all.
    """
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
        "AND {} AND NOT ({})"
    ).format(plan.target, plan.ledger, ledger_target(plan), _among(tombstones), claimed)


def release_marked(plan: EntityPlan, tombstones: Sequence[str] | None = None) -> sql.Composed:
    """Let tombstones go of the target rows that were taken out."""
    return sql.SQL(
        "UPDATE {} AS w SET target_hash = NULL WHERE w.state = 'deleted' AND w.target_hash IS NOT NULL AND {}"
    ).format(plan.ledger, _among(tombstones))


def vanished(
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
        "{in_range} AND {in_window} AND w.state = ANY({states}) AND {brought} AND NOT {later} "
        "AND NOT EXISTS (SELECT FROM {staging} AS s WHERE {staged}) "
        "AND NOT EXISTS (SELECT FROM sinew.reject AS j WHERE j.batch_id = {batch} AND j.scope = 'row' AND {same_key})"
    ).format(
        in_range=ledger_range(plan, range_),
        in_window=in_window(sql.SQL("w.moment"), range_) if range_.kind == "window" else ALWAYS,
        states=sql.Literal(list(states)),
        brought=brought,
        later=read_later(batch_id) if plan.windowed else NEVER,
        staging=staging_table(batch_id),
        staged=AND.join(staged_key(plan)),
        batch=sql.Literal(batch_id),
        same_key=same_key,
    )


def read_later(batch_id: int) -> sql.Composed:
    """Predicate over the row ledger: a batch that was read later than this one has brought or seen the row."""
    return sql.SQL(
        "EXISTS (SELECT FROM sinew.batch AS b WHERE b.id = w.batch_id "
        "AND b.read_at > (SELECT m.read_at FROM sinew.batch AS m WHERE m.id = {}))"
    ).format(sql.Literal(batch_id))


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
