"""What every pipeline's mapping says, whatever moves its rows: entities, order, limits, fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PrivateAttr, StrictInt, StrictStr, model_validator

from sinew.errors import Location
from sinew.spec import graph
from sinew.spec.columns import Model, PythonColumn, RefColumn
from sinew.spec.parts import (
    BatchSize,
    BusinessCheck,
    Cohort,
    Entity,
    Existing,
    Limit,
    Name,
    Phase,
    Source,
    Target,
)
from sinew.spec.positions import Positions
from sinew.spec.steps import Text


class Pipeline(Model):
    """One mapping file. What a migration and a sync have in common."""

    _positions: Positions = PrivateAttr(default_factory=Positions)

    if TYPE_CHECKING:

        @property
        def source(self) -> Source:
            """Where rows come from."""

        @property
        def target(self) -> Target:
            """Where rows go."""

        @property
        def entities(self) -> Mapping[str, Entity]:
            """What is moved, by name."""

        @property
        def strategy(self) -> Literal["trickle", "big_bang"]:
            """Into the live tables, or into shadows that are swapped in."""

        @property
        def cohort(self) -> Cohort | None:
            """What the phases select."""

        @property
        def phases(self) -> tuple[Phase, ...]:
            """Cohorts in their order; a sync has one, without a condition."""

        @property
        def batch(self) -> BatchSize:
            """The size of batches; of migrations alone."""

        @property
        def reconcile(self) -> tuple[BusinessCheck, ...]:
            """Business checks."""

    # First, so that it stands first wherever keys are listed; each kind has an alias of its own.
    name: Name = Field(description="Name of the pipeline and of everything made for it.")
    description: StrictStr = Field(
        default="", description="What it is for, in a sentence.", examples=["The shop's move."]
    )
    parallelism: Annotated[StrictInt, Field(ge=1, le=64)] = Field(
        default=2, description="Steps of this pipeline that work at once.", examples=[2]
    )
    max_rejects: Limit = Field(
        default=0,
        description="Rejected rows that a batch may have: a number of rows, or a share of the "
        "batch's rows between 0 and 1.",
        examples=[0.01],
    )
    hash: Literal["auto", "text"] = Field(
        default="auto",
        description="`auto` takes the server's record hash where it is exact; `text` hashes "
        "canonical text everywhere.",
        examples=["auto"],
    )
    contracts: Text | None = Field(
        default=None,
        description="Folder under include/ with a Soda contract per entity, `<entity>.yaml`.",
        examples=["contracts/retail"],
    )

    @model_validator(mode="after")
    def _name_entities(self) -> Pipeline:
        for name, entity in self.entities.items():
            entity._name = name
        return self

    @property
    def kind(self) -> str:
        """migration or sync: the key of the mapping file under which the name stands."""
        return str(type(self).model_fields["name"].alias)

    @cached_property
    def entity_order(self) -> tuple[str, ...]:
        """Entities, parents before children; deferred references do not count."""
        kept = set(self.edges) - graph.deferred_edges(self.edges)
        return graph.load_order(self.entities, (edge for edge in self.edges if edge in kept))

    @cached_property
    def edges(self) -> tuple[graph.Edge, ...]:
        """All references between entities of this mapping, in the file's order."""
        return tuple(
            graph.Edge(entity.name, ref.name, ref.entity, ref.on_error == "null")
            for entity in self.entities.values()
            for ref in entity.refs
            if ref.entity in self.entities
        )

    @cached_property
    def deferred_refs(self) -> frozenset[tuple[str, str]]:
        """(entity, column) of references that are filled in a second pass.

        Also those that may stay NULL and lead into another cohort: their parent may come in a later phase.
        """
        deferred = graph.deferred_edges(self.edges)
        return self.late_refs | {(edge.child, edge.column) for edge in deferred}

    @cached_property
    def late_refs(self) -> frozenset[tuple[str, str]]:
        """(entity, column) of references that are deferred for the phases' sake alone."""
        late = filter(self._may_come_later, self.edges)
        return frozenset((edge.child, edge.column) for edge in late)

    def parents(self, entity: str) -> tuple[str, ...]:
        """Entities that must be loaded before ``entity``, each once."""
        kept = (e for e in self.edges if (e.child, e.column) not in self.deferred_refs)
        return tuple(dict.fromkeys(edge.parent for edge in kept if edge.child == entity))

    def cohort_path(self, entity: str) -> tuple[RefColumn, ...] | None:
        """The fewest references from ``entity`` to the root; () for the root, None if none.

        References that a row cannot do without come before those that may stay NULL.
        """
        if self.cohort is None:
            return None
        firm = [edge for edge in self.edges if not edge.weak]
        path = graph.shortest_path(entity, self.cohort.root, firm)
        if path is None:
            path = graph.shortest_path(entity, self.cohort.root, self.edges)
        return None if path is None else tuple(self._ref(edge) for edge in path)

    def _ref(self, edge: graph.Edge) -> RefColumn:
        column = self.entities[edge.child].columns[edge.column]
        assert isinstance(column, RefColumn)
        return column

    def _may_come_later(self, edge: graph.Edge) -> bool:
        path = self.cohort_path(edge.child)
        if not edge.weak or len(self.phases) < 2 or self.entities[edge.child].keyless or not path:
            return False
        return path[0].name != edge.column and self.cohort_path(edge.parent) is not None

    def whole_in(self, entity: str) -> str | None:
        """The one phase in which all rows of the entity move; None for one that follows its cohort.

        Rows without a key are one batch, which can refer to all rows only in the last phase.
        """
        if self.cohort_path(entity) is None:
            return self.phases[0].name
        return self.phases[-1].name if self.entities[entity].keyless else None

    def takes_part(self, entity: str, phase: str) -> bool:
        """Whether rows of the entity move in the phase."""
        return self.whole_in(entity) in (None, phase)

    def cohort_refs(self, entity: str) -> tuple[RefColumn, ...]:
        """References that a row cannot do without, and that lead to the root in whatever way."""
        firm = (edge for edge in self.edges if edge.child == entity and not edge.weak)
        return tuple(self._ref(e) for e in firm if self.cohort_path(e.parent) is not None)

    def existing_of(self, entity: str) -> Existing:
        """What rows that the entity's target already holds mean."""
        return self.entities[entity].existing or self.target.existing

    def max_rejects_of(self, entity: str) -> int | float:
        """Rejected rows that a batch of the entity may have: rows (int) or a share (float)."""
        own = self.entities[entity].max_rejects
        limit: int | float = self.max_rejects if own is None else own
        return limit

    def schema_of(self, entity: str) -> str:
        """Schema of the relation that the entity reads."""
        return self.entities[entity].source.schema_name or self.source.schema_name

    def location(self, *path: str | int) -> Location:
        """Where the value at ``path`` was written, or the nearest value around it."""
        return self._positions.value(path)

    def canonical(self) -> str:
        """Canonical JSON of the mapping and of every file that it includes."""
        return _canonical({"mapping": self._plain(), "files": self._included()})

    def fingerprint(self) -> str:
        """sha256 of ``canonical()``, in hex."""
        return _sha256(self.canonical())

    def entity_fingerprint(self, entity: str) -> str:
        """sha256 of all that decides the entity's target rows; limits and phases do not.

        Another entity counts as far as references lead to it: its source, key and key columns.
        """
        names = {entity} | graph.reachable(self.edges).get(entity, frozenset())
        return _sha256(_canonical([self._rows_of(name, name == entity) for name in sorted(names)]))

    def _rows_of(self, name: str, whole: bool) -> dict[str, Any]:
        entity = self.entities[name]
        body = entity.model_dump(mode="json", by_alias=True, exclude={"max_rejects", "existing"})
        columns = body.pop("columns")
        names = columns if whole else entity.target_key
        body["columns"] = {column: columns.get(column) for column in names}
        python = [c.source for c in entity.columns.values() if isinstance(c, PythonColumn)]
        ends = [
            self.name,
            self.source.conn,
            self.schema_of(name),
            self.target.schema_name,
            self.hash,
        ]
        return {"name": name, "ends": ends, "files": [entity.source.text, python], "body": body}

    def _plain(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def _included(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        for entity in self.entities.values():
            texts[f"sql/{entity.source.sql}"] = entity.source.text
            for column in entity.columns.values():
                if isinstance(column, PythonColumn):
                    texts[f"python/{column.module}"] = column.source
        for query in (q for check in self.reconcile for q in (check.source, check.target)):
            texts[f"sql/{query.file}"] = query.text if query.file else ""
        return {file: _sha256(text) for file, text in texts.items() if text}


def sha256_of(value: Any) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return _sha256(_canonical(value))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
