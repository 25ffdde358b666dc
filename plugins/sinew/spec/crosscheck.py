"""What must hold between the parts of a mapping; no file and no database is read."""

from __future__ import annotations

from collections.abc import Iterator

from sinew.spec import graph
from sinew.spec.columns import KeyColumn, RefColumn
from sinew.spec.findings import Finding, unknown
from sinew.spec.parts import BusinessCheck, Entity
from sinew.spec.pipeline import Pipeline


def cross_check(mapping: Pipeline) -> list[Finding]:
    """Everything that is wrong between the parts, phases first."""
    return [
        *_phases(mapping),
        *_cohort(mapping),
        *(finding for entity in mapping.entities.values() for finding in _entity(entity)),
        *(finding for entity in mapping.entities.values() for finding in _refs(mapping, entity)),
        *_sharing(mapping),
        *_cycles(mapping),
        *_business(mapping),
    ]


def _phases(mapping: Pipeline) -> Iterator[Finding]:
    seen: set[str] = set()
    last = len(mapping.phases) - 1
    for i, phase in enumerate(mapping.phases):
        if phase.name in seen:
            yield Finding(
                ("phases", i, "name"),
                f"two phases are named {phase.name!r}; a name may stand once: rename one",
            )
        seen.add(phase.name)
        if i < last and phase.where is None:
            yield Finding(
                ("phases", i),
                f"the phase {phase.name!r} has no `where`, so it would take all rows and leave "
                "none to the phases after it; only the last phase has none: add a `where`",
            )
        if i == last and phase.where is not None:
            yield Finding(
                ("phases", i, "where"),
                f"the last phase, {phase.name!r}, has a `where`, so rows that no phase selects "
                "would be left out; the last phase takes all that is left: remove its `where`, or "
                "add a phase after it, such as {name: rest}",
            )


def _cohort(mapping: Pipeline) -> Iterator[Finding]:
    if mapping.strategy == "big_bang" and len(mapping.phases) > 1:
        yield Finding(
            ("phases",),
            f"a big_bang moves everything at once, but {len(mapping.phases)} phases are declared; "
            "one phase is allowed: remove `phases`, or set `strategy: trickle`",
        )
    if mapping.cohort is None:
        if len(mapping.phases) > 1 or mapping.phases[0].where is not None:
            yield Finding(
                ("phases",),
                "the phases select rows, but no `cohort` says of which entity; allowed roots: "
                f"{', '.join(mapping.entities)}: add `cohort: {{root: <entity>}}`",
            )
    elif mapping.cohort.root not in mapping.entities:
        yield Finding(
            ("cohort", "root"),
            unknown("the cohort's root", mapping.cohort.root, mapping.entities, "name an entity"),
        )


def _entity(entity: Entity) -> Iterator[Finding]:
    path = ("entities", entity.name)
    for i, name in enumerate(entity.declared_target_key or ()):
        if name not in entity.columns:
            message = unknown("the column", name, entity.columns, "name a column of the entity")
            yield Finding((*path, "target_key", i), f"target_key: {message}")
    if entity.key and not entity.target_key:
        yield Finding(
            (*path, "key"),
            f"the entity {entity.name!r} has a key, but nothing says which target columns hold it: "
            "give a column `key: copy`, `uuid` or `identity`, or list columns in `target_key`",
        )
    yield from _key_columns(entity)


def _key_columns(entity: Entity) -> Iterator[Finding]:
    for column in entity.columns.values():
        path = ("entities", entity.name, "columns", column.name)
        copies = isinstance(column, KeyColumn) and column.strategy == "copy" and not column.column
        if copies and len(entity.source_key) != 1:
            yield Finding(
                path,
                f"`key: copy` copies the single key column, but the key of {entity.name!r} has "
                f"{len(entity.source_key)} columns ({', '.join(entity.source_key) or 'none'}): "
                "say which column, as in {key: copy, from: COLUMN}",
            )
        if column.name in entity.target_key and column.on_error == "null":
            yield Finding(
                (*path, "on_error"),
                f"the column {column.name!r} is in the target key, which is never NULL, but has "
                "`on_error: null`; allowed: reject, fail: choose one of these",
            )


def _refs(mapping: Pipeline, entity: Entity) -> Iterator[Finding]:
    for ref in entity.refs:
        path = ("entities", entity.name, "columns", ref.name)
        parent = mapping.entities.get(ref.entity)
        if parent is None:
            message = unknown("the entity", ref.entity, mapping.entities, "name an entity")
            yield Finding((*path, "ref"), message)
        elif parent.keyless:
            yield Finding(
                (*path, "ref"),
                f"{parent.name!r} has no `key`, so nothing can refer to its rows; allowed: an "
                f"entity with a key: give {parent.name!r} a `key`, or fill the column otherwise",
            )
        else:
            yield from _ref(entity, ref, parent)


def _ref(entity: Entity, ref: RefColumn, parent: Entity) -> Iterator[Finding]:
    path = ("entities", entity.name, "columns", ref.name)
    if len(ref.by) != len(parent.source_key):
        yield Finding(
            (*path, "by"),
            f"`by` has {len(ref.by)} columns ({', '.join(ref.by)}), but the key of "
            f"{parent.name!r} has {len(parent.source_key)} ({', '.join(parent.source_key)}): list "
            "one source column for each of them, in that order",
        )
    if ref.take is not None and ref.take not in parent.target_key:
        message = unknown("the target key column", ref.take, parent.target_key, "take one of these")
        yield Finding((*path, "take"), message)
    if ref.take is None and len(parent.target_key) > 1:
        yield Finding(
            path,
            f"the target key of {parent.name!r} has {len(parent.target_key)} columns; allowed: "
            f"{', '.join(parent.target_key)}: say which one this column takes, as in "
            f"`take: {parent.target_key[0]}`",
        )
    if parent is entity and ref.on_error != "null":
        yield Finding(
            path,
            f"{entity.name!r} refers to itself, so this column is NULL until all rows are there, "
            f"but it has `on_error: {ref.on_error}`; needed: `on_error: null` on a nullable "
            "column: add it",
        )


def _sharing(mapping: Pipeline) -> Iterator[Finding]:
    """Entities that load one table answer for its rows together, so they must tell rows apart alike."""
    first: dict[str, Entity] = {}
    for entity in mapping.entities.values():
        other = first.setdefault(entity.into, entity)
        if entity.target_key != other.target_key:
            keys = [", ".join(e.target_key) or "none" for e in (entity, other)]
            yield Finding(
                ("entities", entity.name),
                f"the entity {entity.name!r} loads {entity.into!r} by the target key {keys[0]}, but {other.name!r} by "
                f"{keys[1]}; entities that share a table need the same one, in the same order: set `target_key`",
            )
        elif not entity.target_key and set(entity.columns) != set(other.columns):
            different = sorted(set(entity.columns) ^ set(other.columns))
            yield Finding(
                ("entities", entity.name, "columns"),
                f"{entity.name!r} and {other.name!r} share the table {entity.into!r} without a key, so its rows are "
                f"told apart by their columns, but not both fill {', '.join(different)}: fill the same columns, such "
                "as by {value: null}",
            )


def _cycles(mapping: Pipeline) -> Iterator[Finding]:
    deferred = graph.deferred_edges(mapping.edges)
    firm = [edge for edge in mapping.edges if edge not in deferred]
    for cycle in graph.find_cycles(firm):
        names = " -> ".join([*(edge.child for edge in cycle), cycle[0].child])
        columns = ", ".join(f"{edge.child}.{edge.column}" for edge in cycle)
        yield Finding(
            ("entities", cycle[0].child, "columns", cycle[0].column),
            f"the references form a cycle that nothing breaks: {names}; no entity of it can be "
            f"loaded first: add `on_error: null` to one of {columns}, on a nullable target column",
        )


def _business(mapping: Pipeline) -> Iterator[Finding]:
    names: set[str] = set()
    for i, check in enumerate(mapping.reconcile):
        if check.name in names:
            yield Finding(
                ("reconcile", i, "name"),
                f"two checks are named {check.name!r}; a name may stand once: rename one",
            )
        names.add(check.name)
        yield from _through(mapping, check, i)
        yield from _rejected(mapping, check, i)


def _through(mapping: Pipeline, check: BusinessCheck, i: int) -> Iterator[Finding]:
    if check.through is None:
        return
    entity = mapping.entities.get(check.through)
    path = ("reconcile", i, "through")
    if entity is None:
        message = unknown("the entity", check.through, mapping.entities, "name an entity")
        yield Finding(path, message)
    elif not len(entity.source_key) == len(entity.target_key) == len(check.key):
        yield Finding(
            path,
            f"the check's key has {len(check.key)} columns ({', '.join(check.key)}), but "
            f"{entity.name!r} has {len(entity.source_key)} in the source and "
            f"{len(entity.target_key)} in the target; all three must have the same number, and at "
            "least one: change `key`, or leave `through` out",
        )


def _rejected(mapping: Pipeline, check: BusinessCheck, i: int) -> Iterator[Finding]:
    if check.rejected is None:
        return
    path = ("reconcile", i, "rejected")
    if check.rejected.entity not in mapping.entities:
        message = unknown("the entity", check.rejected.entity, mapping.entities, "name an entity")
        yield Finding((*path, "entity"), message)
    if set(check.rejected.key) != set(check.key):
        yield Finding(
            (*path, "key"),
            f"it has the columns {', '.join(check.rejected.key)}, but the check's key is "
            f"{', '.join(check.key)}: give SQL for exactly these",
        )
    for name in sorted(set(check.rejected.value) & set(check.key)):
        yield Finding(
            (*path, "value", name),
            f"{name!r} is a key column, and key columns are not subtracted; allowed: compared "
            "columns: remove it here",
            at_key=True,
        )
