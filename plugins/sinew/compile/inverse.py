"""The way back of a mapping: for every column of the source, whether the target can give it back, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from sinew.compile.column_values import all_steps, assigned_value
from sinew.compile.entity_plan import EntityPlan, columns_read
from sinew.compile.facts import ColumnFact, PgType
from sinew.compile.transforms import stages
from sinew.compile.undoing import (
    GRADES,
    Grade,
    Place,
    Undoing,
    passes_null,
    undo_assignment,
    undo_step,
)
from sinew.spec.columns import ColumnBase, FromColumn, KeyColumn, RefColumn
from sinew.spec.steps import Step

# Only types are asked for; which value they are of does not matter.
_VALUE = sql.Identifier("v")


@dataclass(frozen=True)
class Inverse:
    """How one column of a source relation comes back.

    ``carried_by``: the target column, as entity.column, or the row ledger that knows it; '' when nothing does.
    ``undoing`` is over that target column's value; a row ledger gives the value as it is.
    """

    column: str
    undoing: Undoing
    carried_by: str = ""

    @property
    def grade(self) -> Grade:
        """lossless, lossy or none."""
        return self.undoing.grade

    @property
    def reasons(self) -> tuple[str, ...]:
        """What does not come back, and why."""
        return self.undoing.reasons


@dataclass(frozen=True)
class Relation:
    """A source relation, the entities that read it, and each of its columns."""

    name: str
    entities: tuple[str, ...]
    columns: tuple[Inverse, ...]


def reversibility(plans: Iterable[EntityPlan], views: Collection[str] = ()) -> list[Relation]:
    """Every source relation that is read, and the best way back of each of its columns.

    ``views`` are the relations, as schema.name, that are no tables.
    """
    by_relation: dict[str, list[EntityPlan]] = {}
    for plan in plans:
        by_relation.setdefault(relation_of(plan), []).append(plan)
    return [
        Relation(
            name, tuple(plan.entity.name for plan in some), tuple(_columns(some, name in views))
        )
        for name, some in by_relation.items()
    ]


def relation_of(plan: EntityPlan) -> str:
    """What an entity reads: schema.table, or the SQL file's name."""
    source = plan.entity.source
    if source.table is None:
        return f"{source.sql}"
    return f"{plan.migration.schema_of(plan.entity.name)}.{source.table}"


def _columns(plans: Sequence[EntityPlan], view: bool) -> Iterator[Inverse]:
    facts = {fact.name: fact for plan in plans for fact in plan.facts.source}
    for fact in facts.values():
        found = [inverse for plan in plans for inverse in _ways(plan, fact, view)]
        yield min(found, key=lambda way: GRADES.index(way.grade), default=_nothing(fact))


def _nothing(fact: ColumnFact) -> Inverse:
    if fact.generated:
        return Inverse(fact.name, Undoing(), "its own expression")
    return Inverse(fact.name, Undoing("none", reasons=("no column of the target carries it",)))


def _ways(plan: EntityPlan, source: ColumnFact, view: bool) -> Iterator[Inverse]:
    """Every way in which one entity may give a source column back, the simplest first."""
    entity = plan.entity
    if entity.source.table is None or view or plan.keyless:
        why = f"what a {'view' if view else 'SELECT'} shows is not what is written"
        why = "a row without a key cannot be found again" if plan.keyless else why
        yield Inverse(source.name, Undoing("none", reasons=(why,)))
        return
    for fact in plan.columns:
        column = entity.columns[fact.name]
        if isinstance(column, RefColumn) and source.name in column.by:
            yield Inverse(source.name, _through(column), f"row ledger of {column.entity}")
        elif _copied(plan, column) == source.name:
            yield Inverse(source.name, undo(plan, fact, source), f"{entity.name}.{fact.name}")
        elif source.name in columns_read(column):
            yield Inverse(source.name, _made(column), f"{entity.name}.{fact.name}")
    if source.name in entity.source_key:
        yield Inverse(source.name, Undoing(), f"row ledger of {entity.name}")


def _copied(plan: EntityPlan, column: ColumnBase) -> str | None:
    """The one source column that a target column is made from, step by step."""
    if isinstance(column, FromColumn):
        return column.column
    if isinstance(column, KeyColumn) and column.strategy == "copy":
        return column.column or plan.entity.source_key[0]
    return None


def _through(column: RefColumn) -> Undoing:
    if column.on_error == "null":
        return Undoing("lossy", reasons=("a reference to no row became NULL",))
    return Undoing()


def _made(column: ColumnBase) -> Undoing:
    how = {"expr": "an expression", "python": "a function"}.get(column.kind, "other columns")
    return Undoing("none", reasons=(f"{column.name} is made by {how}",))


def undo(plan: EntityPlan, fact: ColumnFact, source: ColumnFact) -> Undoing:
    """The way back of one target column that is made from one source column, step by step."""
    column = plan.entity.columns[fact.name]
    steps = all_steps(plan, column, fact)
    if column.default is not None:
        steps = (*steps, Step(name="default", argument=column.default))
    if not column.do and column.default is None and fact.type.sql == source.type.sql:
        # However it travelled: the same type writes and reads itself.
        way = Undoing()
    else:
        way = undo_chain(plan.landed_types[source.name], steps, source.nullable, fact.type)
    if column.on_error == "null" and assigned_value(plan, fact).expression.guards:
        way = way.then(Undoing("lossy", reasons=("a value that did not pass became NULL",)))
    return way


def undo_chain(type_: PgType, steps: Sequence[Step], nullable: bool, target: PgType) -> Undoing:
    """The way back from the target column's type, through all steps, to a value of the landed type."""
    types = [stage.type for stage in stages(_VALUE, type_, steps, lambda _: _VALUE)]
    places, may_be_null = [], nullable
    for step, before, after in zip(steps, types, types[1:], strict=False):
        if before is None or after is None:
            return Undoing("none", reasons=("its type is known to the server alone",))
        places.append((step, Place(before, after, may_be_null)))
        may_be_null = passes_null(step, may_be_null)
    way = undo_assignment(types[-1] or target, target)
    for step, place in reversed(places):
        way = way.then(undo_step(step, place))
    return way
