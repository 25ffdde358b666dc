"""One entity, ready to be turned into statements: the mapping and the facts of both databases, joined."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property

from psycopg import sql

from sinew.compile.expressions import columns_of
from sinew.compile.facts import ColumnFact, PgType
from sinew.compile.hashing import Hashed, HashMode, row_hash
from sinew.spec.columns import ColumnBase, ExprColumn, PythonColumn, RefColumn
from sinew.spec.parts import Entity
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import Sync, SyncEntity, Watermark

# Of a record that an API sent: what in it Postgres cannot hold.
FLAWS = "sinew_flaws"
INT8 = PgType("bigint", "int8", category="N")
INT4 = PgType("integer", "int4", category="N")
TEXT = PgType("text", "text", category="S")

# Types that a binary COPY cannot carry to another database: their bytes hold oids, depend on the server's build
# or locale, or have no receive function. They travel as text.
TRAVELS_AS_TEXT = frozenset(
    [
        "xml",
        "money",
        "aclitem",
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "refcursor",
    ]
    + ["pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"]
    + [
        "regclass",
        "regtype",
        "regproc",
        "regprocedure",
        "regoper",
        "regoperator",
        "regrole",
        "regnamespace",
    ]
    + [
        "regconfig",
        "regdictionary",
        "regcollation",
        "tsquery",
        "jsonpath",
        "gtsvector",
        "pg_snapshot",
        "txid_snapshot",
    ]
)


@dataclass(frozen=True)
class EntityFacts:
    """What the audit learned for one entity; kept in the ledger, so that every step works from the same facts.

    ``natural`` gives the type of each column's value before it is assigned to the target's type;
    ``parent_keys`` the target key types of each entity that is referenced.
    """

    source: tuple[ColumnFact, ...]
    target: tuple[ColumnFact, ...]
    target_unique: tuple[tuple[str, ...], ...]
    hash_mode: HashMode
    natural: tuple[tuple[str, PgType], ...] = ()


@dataclass(frozen=True)
class LandedColumn:
    """A source column as it lies in landing; ``travels_as_text`` when its own type cannot."""

    name: str
    type: PgType
    source_type: PgType
    deterministic: bool

    @property
    def travels_as_text(self) -> bool:
        """Whether the extract casts it to text."""
        return self.type.name != self.source_type.name


def landed_type(type_: PgType) -> PgType:
    """The type under which a value of ``type_`` lies in landing: itself, a domain's base, or text."""
    if type_.kind == "d" and type_.base is not None:
        return landed_type(type_.base)
    element = type_.element
    carried = type_.builtin and type_.kind in ("b", "r", "m") and type_.name not in TRAVELS_AS_TEXT
    if element is not None:
        carried = type_.builtin and landed_type(element) == element
    return type_ if carried else TEXT


@dataclass(frozen=True)
class EntityPlan:
    """Everything that the statements of one entity are made from."""

    migration: Pipeline
    entity: Entity
    facts: EntityFacts
    shadow: bool = False

    @property
    def windowed(self) -> bool:
        """Whether the row ledger keeps the moment of each row: those of syncs do."""
        return isinstance(self.migration, Sync)

    @property
    def delivers(self) -> bool:
        """Whether rows go to an API: there is no target table then, and the row ledger knows what it has."""
        return isinstance(self.migration, Sync) and self.migration.delivers

    @property
    def from_api(self) -> bool:
        """Whether rows are records of an API."""
        return isinstance(self.entity, SyncEntity) and self.entity.source.resource is not None

    @property
    def watermark(self) -> Watermark | None:
        """What says when a row changed; None for migrations, and where nothing says it."""
        return self.entity.watermark if isinstance(self.entity, SyncEntity) else None

    @property
    def ledger_name(self) -> str:
        """Name of the row ledger's table in schema sinew_rows."""
        return ledger_name(self.migration.name, self.entity.name)

    @property
    def ledger(self) -> sql.Identifier:
        """The row ledger."""
        return sql.Identifier("sinew_rows", self.ledger_name)

    @property
    def target_schema(self) -> str:
        """Schema that loads write to: the live one, or the shadow schema of a big bang."""
        return "sinew_shadow" if self.shadow else self.migration.target.schema_name

    @property
    def target(self) -> sql.Identifier:
        """The table that loads write to."""
        return sql.Identifier(self.target_schema, self.entity.into)

    @property
    def sharing(self) -> tuple[str, ...]:
        """Other entities that load the same table."""
        others = self.migration.entities.values()
        return tuple(
            e.name for e in others if e.into == self.entity.into and e.name != self.entity.name
        )

    @property
    def alone(self) -> bool:
        """Whether the table that loads write to holds this entity's rows and no others."""
        ours = self.shadow or self.migration.existing_of(self.entity.name) == "fail"
        return ours and not self.sharing

    @property
    def keyless(self) -> bool:
        """Whether rows are told apart by their whole content and an ordinal."""
        return self.entity.keyless

    @cached_property
    def landed(self) -> tuple[LandedColumn, ...]:
        """The source columns that the mapping needs, in the source's order."""
        needed = needed_columns(self.entity)
        return tuple(
            LandedColumn(fact.name, landed_type(fact.type), fact.type, fact.deterministic_collation)
            for fact in self.facts.source
            if fact.name in needed
        )

    @cached_property
    def landed_types(self) -> dict[str, PgType]:
        """Type of each landed column."""
        return {column.name: column.type for column in self.landed}

    @property
    def key_types(self) -> tuple[PgType, ...]:
        """Types of the row ledger's source key."""
        if self.keyless:
            return INT8, INT4
        return tuple(self.landed_types[name] for name in self.entity.source_key)

    @cached_property
    def columns(self) -> tuple[ColumnFact, ...]:
        """The mapped target columns, in the target's order."""
        mapped = self.entity.columns
        return tuple(fact for fact in self.facts.target if fact.name in mapped)

    @property
    def target_key(self) -> tuple[str, ...]:
        """Names of the target key's columns; none for a table of plain rows."""
        return self.entity.target_key

    @property
    def target_key_types(self) -> tuple[PgType, ...]:
        """Types of the target key."""
        types = {fact.name: fact.type for fact in self.columns}
        return tuple(types[name] for name in self.target_key)

    @property
    def key_nullable(self) -> bool:
        """Whether the source lets a key column be NULL."""
        nullable = {fact.name for fact in self.facts.source if fact.nullable}
        return any(name in nullable for name in self.entity.source_key)

    @cached_property
    def deferred(self) -> tuple[RefColumn, ...]:
        """References that a second pass fills in, in the target's order."""
        marked = self.migration.deferred_refs
        columns = (self.entity.columns[fact.name] for fact in self.columns)
        return tuple(
            column
            for column in columns
            if isinstance(column, RefColumn) and (self.entity.name, column.name) in marked
        )

    @cached_property
    def refs(self) -> tuple[RefColumn, ...]:
        """References that the transform resolves, in the target's order."""
        columns = (self.entity.columns[fact.name] for fact in self.columns)
        return tuple(c for c in columns if isinstance(c, RefColumn) and c not in self.deferred)

    @property
    def python_columns(self) -> tuple[PythonColumn, ...]:
        """Columns whose values a Python function makes."""
        return tuple(c for c in self.entity.columns.values() if isinstance(c, PythonColumn))

    def deferred_names(self) -> list[tuple[str, PgType]]:
        """Columns of staging and row ledger that keep the wanted parents' keys."""
        return [
            (f"d{i}_{j}", self.landed_types[by])
            for i, ref in enumerate(self.deferred, start=1)
            for j, by in enumerate(ref.by, start=1)
        ]

    def source_hash(self, value: sql.Composable | None = None) -> sql.Composed:
        """Hash of a raw row over landing's columns (alias l)."""
        hashed = [
            Hashed(sql.Identifier("l", column.name), column.type, column.deterministic)
            for column in self.landed
        ]
        return row_hash(hashed, self.facts.hash_mode)

    def target_hash(self, alias: str) -> sql.Composed:
        """Hash of a mapped row over the target's mapped columns, except references still to be filled in."""
        hashed = [
            Hashed(sql.Identifier(alias, fact.name), fact.type, fact.deterministic_collation)
            for fact in self.columns
        ]
        return row_hash(hashed, self.facts.hash_mode)

    def with_facts(self, facts: EntityFacts) -> EntityPlan:
        """The same entity with other facts."""
        return replace(self, facts=facts)


def ledger_name(mapping: str, entity: str) -> str:
    """Name of an entity's row ledger table."""
    return f"{mapping}__{entity}"


def ledger_of(migration: Pipeline, entity: str) -> sql.Identifier:
    """An entity's row ledger."""
    return sql.Identifier("sinew_rows", ledger_name(migration.name, entity))


def needed_columns(entity: Entity) -> frozenset[str]:
    """The source columns that the mapping of one entity reads."""
    needed = set(entity.source_key)
    if isinstance(entity, SyncEntity):
        needed |= {entity.watermark.column} if entity.watermark else set()
        needed |= {FLAWS} if entity.source.resource else set()
    for column in entity.columns.values():
        needed |= columns_read(column)
    return frozenset(needed)


def columns_read(column: ColumnBase) -> frozenset[str]:
    """The source columns that one target column is made from."""
    in_expression = columns_of(column.sql) if isinstance(column, ExprColumn) else frozenset()
    return in_expression | frozenset(column.reads)


def entity_fingerprint(migration: Pipeline, entity: Entity, facts: EntityFacts) -> str:
    """sha256 of all that decides what becomes of this entity's rows, in the mapping and in both databases."""
    types = [(fact.name, fact.type.sql) for fact in facts.source + facts.target]
    body = [migration.entity_fingerprint(entity.name), types, facts.hash_mode]
    # Phases do not count, but for what they change: whether a row keeps the key of a parent that may come later.
    late = sorted(column for child, column in migration.late_refs if child == entity.name)
    body += [late] if late else []
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
