"""The contract of a batch: the entity's own Soda checks, and a baseline that all must pass."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from psycopg import sql

from sinew.compile.contract_rows import Rows, duplicates, failing_rows, not_there
from sinew.compile.contract_rules import (
    OWN,
    STAGING_VARIABLE,
    default_threshold,
    level_of,
    validate_contract,
)
from sinew.compile.facts import ColumnFact, PgType
from sinew.errors import SpecError

__all__ = [
    "CompiledCheck",
    "CompiledContract",
    "Reference",
    "StagingFacts",
    "compile_contract",
    "contract_fingerprint",
    "validate_contract",
]

# Soda's name for the data source; only it knows how to reach the database.
DATA_SOURCE = "home"
_ALL_ZERO = {"must_be": 0}


@dataclass(frozen=True)
class Reference:
    """Columns whose values must be the key of a row in another table of the home database."""

    columns: tuple[str, ...]
    schema: str
    table: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class StagingFacts:
    """What is known of a staging table before it is judged.

    ``columns`` are the mapped target columns; the table may hold more. ``key`` is the target key,
    empty for plain rows. ``rows_expected`` is None when nobody counted.
    """

    database: str
    schema: str
    table: str
    columns: tuple[ColumnFact, ...]
    key: tuple[str, ...] = ()
    rows_expected: int | None = None
    references: tuple[Reference, ...] = ()

    @property
    def name(self) -> str:
        """database.schema.table, for messages."""
        return f"{self.database}.{self.schema}.{self.table}"

    @property
    def relation(self) -> sql.Identifier:
        """The table."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True)
class CompiledCheck:
    """One check as Soda gets it.

    ``failing`` is the predicate of the rows that fail it, where rows can fail it; ``touches`` are
    the columns that a look at those rows should show.
    """

    kind: str
    column: str | None
    name: str
    body: Mapping[str, Any]
    failing: sql.Composable | None = field(default=None, compare=False, repr=False)
    touches: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str | None, str, str | None]:
        """What tells a check from the others of its contract."""
        qualifier = self.body.get("qualifier")
        return self.column, self.kind, None if qualifier is None else str(qualifier)

    @property
    def level(self) -> str:
        """``fail`` or ``warn``: what it means when the check does not hold."""
        return level_of(self.body.get("threshold", {}))

    @property
    def threshold(self) -> str:
        """What the check asks for, in words."""
        given = {k: v for k, v in self.body.get("threshold", {}).items() if k != "level"}
        if not given:
            return default_threshold(self.kind, self.column)
        return ", ".join(f"{key} {_words(value)}" for key, value in given.items())

    @property
    def definition(self) -> str:
        """The check as JSON."""
        return _json({self.kind: dict(self.body)})


@dataclass(frozen=True)
class CompiledContract:
    """A Soda contract on one staging table, and the checks that it must give results for."""

    staging: StagingFacts
    checks: tuple[CompiledCheck, ...]
    fingerprint: str
    columns: tuple[Mapping[str, Any], ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The contract as plain values."""
        return {
            "dataset": f"{DATA_SOURCE}/{self.staging.schema}/{self.staging.table}",
            "variables": dict(self.variables),
            "columns": [self._column(column) for column in self.columns],
            "checks": self._checks_of(None),
        }

    @property
    def text(self) -> str:
        """The contract as YAML (JSON is YAML), with every character that YAML forbids escaped."""
        return re.sub(
            "[\x7f-\x9f\u2028\u2029\ufeff]",
            lambda found: f"\\u{ord(found.group()):04x}",
            _json(self.document),
        )

    def _column(self, column: Mapping[str, Any]) -> dict[str, Any]:
        checks = self._checks_of(column["name"])
        return {**column, "checks": checks} if checks else dict(column)

    def _checks_of(self, column: str | None) -> list[dict[str, Any]]:
        mine = (check for check in self.checks if check.column == column)
        return [{check.kind: {"name": check.name, **check.body}} for check in mine]


def compile_contract(user: Mapping[str, Any] | None, staging: StagingFacts) -> CompiledContract:
    """Merge the entity's own contract with the baseline. Raises SpecError for a wrong contract."""
    names = [column.name for column in staging.columns]
    problems = validate_contract(user, names, f"the contract of {staging.name}")
    if problems:
        raise SpecError(problems)
    own = user or {}
    declared = {column["name"]: column for column in own.get("columns") or []}
    return CompiledContract(
        staging=staging,
        checks=(*_baseline(staging), *_users(own, declared, staging)),
        fingerprint=contract_fingerprint(user),
        columns=tuple(_column(fact, declared.get(fact.name, {})) for fact in staging.columns),
        variables={
            **own.get("variables", {}),
            STAGING_VARIABLE: {"default": staging.relation.as_string(None)},
        },
    )


def contract_fingerprint(user: Mapping[str, Any] | None) -> str:
    """sha256 of the contract's canonical JSON; the baseline is the compiler's own and not in it."""
    body = json.dumps(user or {}, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(body.encode()).hexdigest()


def _column(fact: ColumnFact, declared: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in declared.items() if key != "checks"}
    for key in [key for key in kept if key == "valid_reference_data"]:
        kept[key] = _reference_data(kept[key])
    return {"name": fact.name, **_type(fact.type), **kept}


def _baseline(staging: StagingFacts) -> Iterator[CompiledCheck]:
    yield CompiledCheck(
        "schema",
        None,
        "columns and types are the target's",
        # The batch's bookkeeping columns stand beside the target's.
        {"qualifier": OWN, "allow_extra_columns": True, "allow_other_column_order": True},
    )
    if staging.rows_expected is not None:
        counted = {"qualifier": OWN, "threshold": {"must_be": staging.rows_expected}}
        yield CompiledCheck("row_count", None, "rows are as many as were staged", counted)
    if staging.key:
        yield _unique(staging)
    for i, reference in enumerate(staging.references, start=1):
        yield _referenced(staging, reference, i)
    for column in staging.columns:
        if column.name in staging.key or not column.nullable:
            yield _not_null(column.name)


def _not_null(column: str) -> CompiledCheck:
    # Not `missing`: the column's own contract may call other values than NULL missing.
    predicate = sql.SQL("{} IS NULL").format(sql.Identifier(column))
    return CompiledCheck(
        "failed_rows",
        column,
        f"{column} is not null",
        {"qualifier": OWN, "expression": predicate.as_string(None)},
        predicate,
        (column,),
    )


def _unique(staging: StagingFacts) -> CompiledCheck:
    name = f"{', '.join(staging.key)} is unique"
    failing = duplicates(staging.relation, staging.key)
    kind, query = "failed_rows", _repeated(staging)
    if len(staging.key) == 1:
        # Sorts bare values, not rows: about half the time of grouping a million of them.
        kind, query = "metric", _surplus(staging)
    body = {"qualifier": f"{OWN} key", "query": query.as_string(None), "threshold": _ALL_ZERO}
    return CompiledCheck(kind, None, name, body, failing, staging.key)


def _surplus(staging: StagingFacts) -> sql.Composed:
    key = _comparable(next(c for c in staging.columns if c.name == staging.key[0]))
    return sql.SQL("SELECT count({key}) - count(DISTINCT {key}) FROM {table}").format(
        key=key, table=staging.relation
    )


def _repeated(staging: StagingFacts) -> sql.Composed:
    # Each repeated key once. Grouping is slower: nobody analyzed the table, so its plan is poor.
    key = sql.SQL(", ").join(
        _comparable(column) for column in staging.columns if column.name in staging.key
    )
    return sql.SQL(
        "SELECT 1 FROM (SELECT row_number() OVER (PARTITION BY {key}) AS nth FROM {table}) AS keys "
        "WHERE nth = 2"
    ).format(key=key, table=staging.relation)


def _comparable(column: ColumnFact) -> sql.Composable:
    """A column to sort by; equal bytes are equal texts, and bytes compare much faster."""
    name = sql.Identifier(column.name)
    base = column.type.base or column.type
    if column.deterministic_collation and base.name in ("text", "varchar", "bpchar"):
        return sql.SQL('{} COLLATE "C"').format(name)
    return name


def _referenced(staging: StagingFacts, reference: Reference, number: int) -> CompiledCheck:
    failing = not_there(
        staging.relation,
        reference.columns,
        sql.Identifier(reference.schema, reference.table),
        reference.parent_columns,
    )
    query = sql.SQL("SELECT 1 FROM {} WHERE {}").format(staging.relation, failing)
    name = f"{', '.join(reference.columns)} is in {reference.schema}.{reference.table}"
    body = {"qualifier": f"{OWN} reference {number}", "query": query.as_string(None)}
    return CompiledCheck("failed_rows", None, name, body, failing, reference.columns)


def _users(
    own: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]], staging: StagingFacts
) -> Iterator[CompiledCheck]:
    holders = [(None, own), *declared.items()]
    for column, holder in holders:
        for check in holder.get("checks") or []:
            ((kind, body),) = check.items()
            yield _users_check(kind, column, dict(body or {}), holder, staging)


def _users_check(
    kind: str,
    column: str | None,
    body: dict[str, Any],
    holder: Mapping[str, Any],
    staging: StagingFacts,
) -> CompiledCheck:
    if "valid_reference_data" in body:
        body["valid_reference_data"] = _reference_data(body["valid_reference_data"])
    named = str(body.pop("name", "") or f"{column or 'table'}: {kind}")
    rows: Rows = failing_rows(kind, column, body, holder, staging.relation)
    return CompiledCheck(kind, column, named, body, rows.predicate, rows.touches)


def _reference_data(value: Mapping[str, Any]) -> dict[str, Any]:
    schema, table = str(value["dataset"]).split("/")[-2:]
    return {"dataset": f"{DATA_SOURCE}/{schema}/{table}", "column": value["column"]}


# Names that Soda's query on the catalogs gives to types, where they are not pg_type.typname.
_SODA_NAMES = {
    "varchar": "character varying",
    "bpchar": "character",
    "bool": "boolean",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "timetz": "time with time zone",
    "time": "time without time zone",
    "varbit": "bit varying",
}
# Scalars that Soda takes for arrays, because they have an element type.
_SODA_ARRAYS = frozenset(["name", "point", "line", "lseg", "box", "int2vector", "oidvector"])


def _type(type_: PgType) -> dict[str, Any]:
    """A column's type in Soda's terms; nothing where Soda cannot tell one type from another."""
    if type_.kind == "d":
        base = type_.base
        plain = base is not None and base.kind == "b" and base.category != "A"
        return {"data_type": _soda_name(base)} if plain and base is not None else {}
    if type_.category == "A" or type_.element is not None or type_.name in _SODA_ARRAYS:
        return {"data_type": "ARRAY"}
    sizes = {"character_maximum_length": type_.length, "numeric_precision": type_.precision}
    if (type_.scale or 0) >= 0:
        # Soda reads a negative scale as a large one.
        sizes["numeric_scale"] = type_.scale
    given = {key: size for key, size in sizes.items() if size is not None}
    return {"data_type": _soda_name(type_), **given}


def _soda_name(type_: PgType) -> str:
    return _SODA_NAMES.get(type_.name, type_.name)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{key} {_words(item)}" for key, item in value.items())
    return str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
