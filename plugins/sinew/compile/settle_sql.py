"""Statements of the second pass: references that could not be filled while their batches were loaded."""

from __future__ import annotations

from psycopg import sql

from sinew.compile.column_values import KEYLESS_KEY
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import equal

COMMA = sql.SQL(", ")
AND = sql.SQL(" AND ")


def settle_reference(
    plan: EntityPlan, index: int, parent_ledger: sql.Composable, taken: int
) -> sql.Composed:
    """Fill one deferred reference wherever its parent has arrived, and follow with the row ledger's hash."""
    ref = plan.deferred[index]
    wanted = _wanted(plan, index)
    keys = COMMA.join(sql.Identifier("w", f"k{i}") for i in range(1, len(plan.key_types) + 1))
    targets = COMMA.join(sql.Identifier("w", f"t{i}") for i in range(1, len(plan.target_key) + 1))
    same_target = AND.join(
        equal("t", name, "todo", f"t{i}") for i, name in enumerate(plan.target_key, start=1)
    )
    same_entry = AND.join(
        equal("w", f"k{i}", "done", f"k{i}") for i in range(1, len(plan.key_types) + 1)
    )
    key_names = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    return sql.SQL(
        "WITH todo AS (SELECT {keys}, {targets}, p.{taken} AS parent FROM {ledger} AS w "
        "JOIN {parent} AS p ON {matches} "
        "WHERE w.state = 'live' AND p.state IN ('live', 'kept') AND w.batch_id IN "
        # A batch that is loaded but not validated is still to be compared with what was staged.
        "(SELECT id FROM sinew.batch WHERE mapping = {mapping} AND entity = {entity} "
        "AND state IN ('validated', 'stale'))), "
        "done AS (UPDATE {target} AS t SET {column} = todo.parent FROM todo WHERE {same_target} "
        "RETURNING {todo_keys}, {hash} AS hash) "
        "UPDATE {ledger} AS w SET target_hash = done.hash, {cleared} FROM done WHERE {same_entry}"
    ).format(
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        keys=keys,
        targets=targets,
        taken=sql.Identifier(f"t{taken}"),
        ledger=plan.ledger,
        parent=parent_ledger,
        matches=_matches(wanted),
        target=plan.target,
        column=sql.Identifier(ref.name),
        same_target=same_target,
        todo_keys=COMMA.join(sql.Identifier("todo", name) for name in key_names),
        hash=plan.target_hash("t"),
        cleared=COMMA.join(sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in wanted),
        same_entry=same_entry,
    )


def unsettled(plan: EntityPlan, index: int, parent_ledger: sql.Composable) -> sql.Composed:
    """Tell of references that found no parent after the last phase: the value stays NULL, the row is loaded."""
    ref = plan.deferred[index]
    wanted = _wanted(plan, index)
    pairs = COMMA.join(
        sql.SQL("{}::text, w.{}::text").format(sql.Literal(name), sql.Identifier(f"k{i}"))
        for i, name in enumerate(plan.entity.source_key or KEYLESS_KEY, start=1)
    )
    given = AND.join(sql.SQL("w.{} IS NOT NULL").format(sql.Identifier(name)) for name in wanted)
    shown = COMMA.join(sql.SQL("w.{}::text").format(sql.Identifier(name)) for name in wanted)
    return sql.SQL(
        "INSERT INTO sinew.reject (batch_id, mapping, entity, source_key, source_hash, scope, column_name, rule, "
        "reason, value) SELECT w.batch_id, {mapping}, {entity}, jsonb_build_object({pairs}), w.source_hash, 'value', "
        "{column}, CASE WHEN p.state = 'rejected' THEN 'parent_rejected' ELSE 'orphan' END, "
        "CASE WHEN p.state = 'rejected' THEN {rejected} ELSE {absent} END, concat_ws(', ', {shown}) "
        "FROM {ledger} AS w LEFT JOIN {parent} AS p ON {matches} WHERE w.state = 'live' AND {given}"
    ).format(
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        pairs=pairs,
        column=sql.Literal(ref.name),
        rejected=sql.Literal(f"its {ref.entity} row was rejected"),
        absent=sql.Literal(f"there is no such row in {ref.entity}"),
        shown=shown,
        ledger=plan.ledger,
        parent=parent_ledger,
        matches=_matches(wanted),
        given=given,
    )


def forget_unsettled(plan: EntityPlan) -> sql.Composed:
    """Forget what an earlier second pass told of this entity's deferred references."""
    return sql.SQL(
        "DELETE FROM sinew.reject WHERE mapping = {} AND entity = {} AND scope = 'value' AND column_name = ANY({})"
    ).format(
        sql.Literal(plan.migration.name),
        sql.Literal(plan.entity.name),
        sql.Literal([ref.name for ref in plan.deferred]),
    )


def _wanted(plan: EntityPlan, index: int) -> list[str]:
    """Row ledger columns that hold the key of the parent that one deferred reference wants."""
    return [f"d{index + 1}_{j}" for j in range(1, len(plan.deferred[index].by) + 1)]


def _matches(wanted: list[str]) -> sql.Composed:
    return AND.join(
        sql.SQL("p.{} = w.{}").format(sql.Identifier(f"k{j}"), sql.Identifier(name))
        for j, name in enumerate(wanted, start=1)
    )
