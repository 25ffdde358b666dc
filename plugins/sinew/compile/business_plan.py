"""A business check of the mapping, joined with what is known of the entities that it goes through."""

from __future__ import annotations

from psycopg import sql

from sinew.compile.bounds import source_key_values, source_relation
from sinew.compile.business_sql import Check, Through
from sinew.compile.column_values import KEYLESS_KEY
from sinew.compile.entity_plan import INT8, EntityPlan, ledger_of
from sinew.compile.rejected_sql import RejectedRows
from sinew.compile.transform_sql import source_row_hash
from sinew.spec.parts import BusinessCheck
from sinew.spec.pipeline import Pipeline


def plan_check(
    migration: Pipeline,
    check: BusinessCheck,
    phase: str,
    rejecting: EntityPlan | None,
    *,
    shadow: bool = False,
) -> Check:
    """What the engine runs after ``phase``; ``rejecting`` is the plan of the entity that ``rejected`` names.

    With ``shadow`` the target's answer comes from the shadow tables that a big bang has loaded.
    """
    through = None
    if check.through is not None:
        through = Through(_moved_so_far(migration, check.through, phase), len(check.key))
    return Check(
        name=check.name,
        source=check.source.text,
        target=_in_shadow(migration, check.target.text) if shadow else check.target.text,
        key=check.key,
        source_schema=migration.source.schema_name,
        target_schema=migration.target.schema_name,
        through=through,
        rejected=_rejected(check, rejecting) if rejecting is not None else None,
        tolerance=check.tolerance,
    )


def _moved_so_far(migration: Pipeline, entity: str, phase: str) -> sql.Composable:
    """The row ledger's entries of this phase and earlier ones: a later phase proves its own."""
    names = [item.name for item in migration.phases]
    so_far = names[: names.index(phase) + 1]
    return sql.SQL(
        "(SELECT * FROM {} WHERE batch_id IN "
        "(SELECT id FROM sinew.batch WHERE mapping = {} AND entity = {} AND phase = ANY({})))"
    ).format(
        ledger_of(migration, entity),
        sql.Literal(migration.name),
        sql.Literal(entity),
        sql.Literal(so_far),
    )


def _in_shadow(migration: Pipeline, text: str) -> str:
    """The SELECT with every table that this migration loads read from the shadow schema."""
    import sqlglot
    from sqlglot import exp

    tables = {entity.into for entity in migration.entities.values()}

    def moved(node: exp.Expression) -> exp.Expression:
        if (
            isinstance(node, exp.Table)
            and node.name in tables
            and node.db in ("", migration.target.schema_name)
        ):
            node.set("db", exp.to_identifier("sinew_shadow", quoted=True))
        return node

    return sqlglot.parse_one(text, read="postgres").transform(moved).sql(dialect="postgres")


def _rejected(check: BusinessCheck, plan: EntityPlan) -> RejectedRows | None:
    if check.rejected is None:
        return None
    values = source_key_values(plan)
    key = tuple(zip(plan.entity.source_key, values, plan.key_types, strict=False))
    if plan.keyless:
        key = ((KEYLESS_KEY[0], source_row_hash(plan), INT8),)
    where = sql.SQL(plan.entity.where) if plan.entity.where else None
    return RejectedRows(
        mapping=plan.migration.name,
        entity=plan.entity.name,
        relation=source_relation(plan.migration, plan.entity.name, "r"),
        key=key,
        check_key={name: sql.SQL(text) for name, text in check.rejected.key.items()},
        amounts={name: sql.SQL(text) for name, text in check.rejected.value.items()},
        where=where,
    )
