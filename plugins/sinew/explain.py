"""A migration's plan in plain words, as Markdown; reads nothing but the mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sinew.spec import (
    BusinessCheck,
    ColumnBase,
    Entity,
    ExprColumn,
    FromColumn,
    KeyColumn,
    Phase,
    PythonColumn,
    RefColumn,
    Step,
    ValueColumn,
)
from sinew.spec.pipeline import Pipeline


def explain(migration: Pipeline) -> str:
    """The whole plan: strategy, phases, order, every column and check; always the same text."""
    return "\n".join(_lines(migration)) + "\n"


def _lines(migration: Pipeline) -> Iterator[str]:
    yield f"# Migration {migration.name}"
    if migration.description:
        yield from ("", migration.description)
    yield ""
    yield from _summary(migration)
    yield from ("", "## Phases", "")
    yield from _phases(migration)
    yield from ("", "## Order", "")
    yield from _order(migration)
    for name in migration.entity_order:
        yield from ("", f"## {name}", "")
        yield from _entity(migration, migration.entities[name])
    if migration.reconcile:
        yield from ("", "## Business checks", "")
        for check in migration.reconcile:
            yield _business_check(check)


def _summary(migration: Pipeline) -> Iterator[str]:
    source, target = migration.source, migration.target
    yield f"- From connection `{source.conn}`, schema `{source.schema_name}`"
    yield f"- To connection `{target.conn}`, schema `{target.schema_name}`"
    yield f"- Strategy: {_STRATEGIES[migration.strategy]}"
    yield f"- Rows that the target already holds: {EXISTING[target.existing]}"
    yield f"- Batches of about {migration.batch.rows:,} rows, {migration.parallelism} steps at once"
    yield f"- Rejected rows that a batch may have: {limit(migration.max_rejects)}"
    if migration.contracts:
        yield f"- Contracts: `{migration.contracts}`, besides those that every batch must pass"
    yield f"- Plan: `{migration.fingerprint()[:12]}`"


_STRATEGIES = {
    "trickle": "trickle: phase after phase into the live tables",
    "big_bang": "big bang: into shadow tables, all swapped in at once when everything is proved",
}
EXISTING = {
    "fail": "stop before a row moves",
    "update": "overwritten where the key is the same",
    "keep": "left as they are",
}


def limit(number: int | float) -> str:
    """A number of rows, or a share of them."""
    return f"{number:.4g} of its rows" if isinstance(number, float) else f"{number:,}"


def _phases(migration: Pipeline) -> Iterator[str]:
    root = migration.cohort.root if migration.cohort else None
    for number, phase in enumerate(migration.phases, start=1):
        yield f"{number}. **{phase.name}**: {_cohort(phase, root)}{_approval(phase)}"
    if root:
        for phase, which in ((migration.phases[0], "first"), (migration.phases[-1], "last")):
            whole = [n for n in migration.entity_order if migration.whole_in(n) == phase.name]
            if whole:
                yield from ("", f"Whole in the {which} phase: {listed(whole)}.")


def _cohort(phase: Phase, root: str | None) -> str:
    if phase.where:
        return f"{root} where {code(phase.where)}, and what belongs to them"
    return "all that is left" if root else "everything"


def _approval(phase: Phase) -> str:
    return "; a person approves before it starts" if phase.approval else ""


def levels(migration: Pipeline) -> list[list[str]]:
    """Entities by their longest chain of parents; those of one level do not wait for each other."""
    depth: dict[str, int] = {}
    for name in migration.entity_order:
        depth[name] = 1 + max((depth[parent] for parent in migration.parents(name)), default=-1)
    found: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, level in depth.items():
        found[level].append(name)
    return found


def phase_entities(migration: Pipeline, phase: str) -> tuple[str, ...]:
    """Entities with batches in a phase: what does not reach the cohort's root goes in the first."""
    return tuple(name for name in migration.entity_order if migration.takes_part(name, phase))


def _order(migration: Pipeline) -> Iterator[str]:
    for number, names in enumerate(levels(migration), start=1):
        yield f"{number}. {listed(names)}"
    for entity, column in sorted(migration.deferred_refs):
        yield f"\n`{entity}.{column}` is filled in a second pass at the end of each phase."


# --- one entity


def _entity(migration: Pipeline, entity: Entity) -> Iterator[str]:
    source = entity.source
    relation = (
        f"`{migration.schema_of(entity.name)}.{source.table}`"
        if source.table
        else f"SQL file `{source.sql}`"
    )
    yield f"{relation} → `{migration.target.schema_name}.{entity.into}`"
    yield ""
    yield f"- Key: {key_of(entity)}"
    if entity.where:
        yield f"- Only rows where {code(entity.where)}"
    parents = migration.parents(entity.name)
    if parents:
        yield f"- After {listed(parents)}"
    if entity.max_rejects is not None:
        yield f"- Rejected rows that a batch may have: {limit(entity.max_rejects)}"
    if entity.existing is not None:
        yield f"- Rows that the target already holds: {EXISTING[entity.existing]}"
    yield ""
    yield from column_rows(entity)


def key_of(entity: Entity) -> str:
    """The source's key and what the target's is made of."""
    if entity.keyless:
        return "none; rows are moved in one batch and compared as a multiset"
    key = ", ".join(f"`{name}`" for name in entity.source_key)
    made = ", ".join(f"`{name}`" for name in entity.target_key)
    return f"{key} → {made}" if made else key


def column_rows(entity: Entity) -> Iterator[str]:
    """The table of an entity's columns."""
    yield "| Column | From | What is done | If it cannot be converted |"
    yield "|---|---|---|---|"
    for column in entity.columns.values():
        yield _row(column)


def _row(column: ColumnBase) -> str:
    name = f"`{column.name}`" + (" (personal)" if column.pii else "")
    done = [_step(step) for step in column.do]
    if column.default is not None:
        done.append(f"default {code(column.default)}")
    cells = [name, _origin(column), ", ".join(done), _ON_ERROR[column.on_error]]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


_ON_ERROR = {"reject": "the row is rejected", "null": "empty", "fail": "the batch fails"}


def _origin(column: ColumnBase) -> str:
    match column:
        case KeyColumn():
            return _KEYS[column.strategy] + (f" of `{column.column}`" if column.column else "")
        case FromColumn():
            return f"`{column.column}`"
        case ExprColumn():
            return code(column.sql)
        case ValueColumn():
            return f"always {code(column.value)}"
        case RefColumn():
            return f"key of {column.entity} by {listed(f'`{name}`' for name in column.by)}"
        case PythonColumn():
            return f"`{column.function}` of {listed(f'`{name}`' for name in column.columns)}"
    return column.kind


_KEYS = {
    "copy": "copy of the key",
    "uuid": "UUID made from the key",
    "identity": "number that the target gives",
}


def _step(step: Step) -> str:
    return step.name if step.argument is None else f"{step.name} {code(_plain(step.argument))}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return "''" if value == "" else str(value)


def code(value: Any) -> str:
    """Inline code that survives a table and a line: backticks inside would end it."""
    text = " ".join(str(value).split())
    fence = "``" if "`" in text else "`"
    return f"{fence}{text or ' '}{fence}"


def listed(names: Iterable[str]) -> str:
    """Names, one after another."""
    return ", ".join(names)


def _business_check(check: BusinessCheck) -> str:
    parts = [f"- **{check.name}**: key by key over {listed(f'`{name}`' for name in check.key)}"]
    if check.through:
        parts.append(f"translated through {check.through}")
    if check.rejected:
        parts.append(f"less what rejected rows of {check.rejected.entity} were worth")
    parts.append(f"within {check.tolerance}" if check.tolerance else "to the last digit")
    return ", ".join(parts)
