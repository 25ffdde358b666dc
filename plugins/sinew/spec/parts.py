"""The parts of a mapping: databases, phases, entities, business checks."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sinew.spec.columns import Column, KeyColumn, Model, Names, RefColumn
from sinew.spec.steps import Text

NAME_PATTERN = "^[a-z][a-z0-9_]{0,27}$"
Name = Annotated[StrictStr, Field(pattern=NAME_PATTERN)]
Existing = Literal["fail", "update", "keep"]


def _limit(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if whole or (isinstance(value, float) and 0 < value < 1):
        return value
    raise ValueError(
        f"{value!r} is no limit; allowed: a number of rows from 0, or a share of the batch's rows "
        "between 0 and 1 such as 0.01"
    )


Limit = Annotated[
    Any,
    AfterValidator(_limit),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            ]
        }
    ),
]


def _no_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is listed more than once: list each column once")
    return names


KeyNames = Annotated[Names, AfterValidator(_no_repeats)]


class Source(Model):
    """Where rows come from."""

    conn: Text = Field(description="Airflow connection id.", examples=["legacy_retail"])
    schema_name: Text = Field(
        default="public", alias="schema", description="Default schema.", examples=["public"]
    )


class Target(Model):
    """Where rows go; the ledger lives in the same database."""

    conn: Text = Field(description="Airflow connection id.", examples=["commerce"])
    schema_name: Text = Field(
        default="public", alias="schema", description="Schema of the tables.", examples=["commerce"]
    )
    existing: Existing = Field(
        default="fail",
        description="What a target table that already holds rows means: `fail` stops before a row "
        "moves, `update` overwrites rows with the same key, `keep` leaves those as they are.",
        examples=["fail"],
    )


class Cohort(Model):
    """What the phases select."""

    root: StrictStr = Field(
        description="Entity whose rows the phases' `where` selects; others follow references.",
        examples=["customers"],
    )


class Phase(Model):
    """A cohort of rows that is promoted together."""

    name: Name = Field(description="Name, unique in the mapping.", examples=["pilot"])
    where: Text | None = Field(
        default=None,
        description="Postgres condition over the root entity's source columns. The last phase has "
        "none: it takes all that is left.",
        examples=["hshd_no % 20 = 0"],
    )
    approval: StrictBool = Field(
        default=False,
        description="A person approves in the Airflow UI before the phase starts.",
        examples=[True],
    )


class BatchSize(Model):
    """How much one batch moves."""

    rows: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1_000_000, description="Rows in a batch, about.", examples=[1_000_000]
    )


class Relation(Model):
    """What an entity reads: a table or view, or a SELECT in a file under include/sql/."""

    _text: str = PrivateAttr(default="")

    table: Text | None = Field(
        default=None, description="Table or view, spelled as the catalog has it.", examples=["T"]
    )
    schema_name: Text | None = Field(
        default=None,
        alias="schema",
        description="Its schema; default: the source's.",
        examples=["legacy"],
    )
    sql: Text | None = Field(
        default=None,
        description="File under include/sql/ with one SELECT.",
        examples=["retail/open_orders.sql"],
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"table": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A table's name stands for the whole map."""
        full = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string", "minLength": 1}, full]}

    @model_validator(mode="after")
    def _one_form(self) -> Relation:
        if (self.table is None) == (self.sql is None):
            raise ValueError(
                "`from` needs exactly one of table and sql: write a table's name, "
                "{table: T, schema: S} or {sql: file.sql}"
            )
        if self.sql is not None and self.schema_name is not None:
            raise ValueError("a SQL file names its own schemas: remove `schema`")
        return self

    @property
    def text(self) -> str:
        """The SQL file's text as it was read; '' for a table. Part of the fingerprint."""
        return self._text


class Entity(Model):
    """One target table, fed from one source relation."""

    _name: str = PrivateAttr(default="")

    source: Relation = Field(
        alias="from", description="Table, view or SQL file that is read.", examples=["CUST_MASTER"]
    )
    into_table: Text | None = Field(
        default=None,
        alias="into",
        description="Target table; default: the entity's name. Entities may share one.",
        examples=["customers"],
    )
    key: KeyNames | None = Field(
        default=None,
        description="Source columns that tell one row from another. Without it the entity is moved "
        "as one batch and compared as a multiset.",
        examples=[["HSHD_NO"]],
    )
    declared_target_key: KeyNames | None = Field(
        default=None,
        alias="target_key",
        description="Target columns that tell one row from another; default: those with `key:`.",
        examples=[["customer_id"]],
    )
    where: Text | None = Field(
        default=None,
        description="Postgres condition over the source's columns; rows where it is not true stay.",
        examples=["\"STATUS\" <> 'X'"],
    )
    max_rejects: Limit | None = Field(
        default=None,
        description="Rejected rows that a batch may have; default: the mapping's.",
        examples=[100],
    )
    existing: Existing | None = Field(
        default=None,
        description="As under `target`, for this entity alone.",
        examples=["update"],
    )
    columns: Annotated[dict[str, Column], Field(min_length=1)] = Field(
        description="Target column to what fills it.",
        examples=[{"email": {"from": "EMAIL_ADDR", "do": ["trim", "lower"], "pii": True}}],
    )

    @model_validator(mode="after")
    def _name_columns(self) -> Entity:
        for name, column in self.columns.items():
            column._name = name
        return self

    @property
    def name(self) -> str:
        """The entity's name."""
        return self._name

    @property
    def into(self) -> str:
        """The target table."""
        return self.into_table or self.name

    @property
    def keyless(self) -> bool:
        """Whether rows have no key in the source."""
        return not self.key

    @property
    def source_key(self) -> tuple[str, ...]:
        """The source's key columns; () for a keyless entity."""
        return self.key or ()

    @property
    def target_key(self) -> tuple[str, ...]:
        """The target's key columns: declared, or those with ``key:``; () when there are none."""
        if self.declared_target_key is not None:
            return self.declared_target_key
        return tuple(n for n, column in self.columns.items() if isinstance(column, KeyColumn))

    @property
    def refs(self) -> tuple[RefColumn, ...]:
        """The columns that refer to an entity, in the file's order."""
        return tuple(c for c in self.columns.values() if isinstance(c, RefColumn))

    @property
    def pii(self) -> frozenset[str]:
        """Target columns with personal data."""
        return frozenset(name for name, column in self.columns.items() if column.pii)


class Query(Model):
    """A SELECT: as text, or in a file under include/sql/."""

    _text: str = PrivateAttr(default="")

    sql: Text | None = Field(default=None, description="The SELECT.", examples=["SELECT 1 AS n"])
    file: Text | None = Field(
        default=None,
        description="File under include/sql/ with the SELECT.",
        examples=["retail/ltv_source.sql"],
    )

    @model_validator(mode="after")
    def _one_form(self) -> Query:
        if (self.sql is None) == (self.file is None):
            raise ValueError("a query needs exactly one of sql and file: keep one of them")
        return self

    @property
    def text(self) -> str:
        """The SELECT's text, wherever it was written."""
        return self.sql if self.sql is not None else self._text


class RejectedAmounts(Model):
    """What rejected rows of an entity were worth; subtracted from the source, listed one by one."""

    entity: StrictStr = Field(description="Entity with rejects.", examples=["order_lines"])
    key: Annotated[dict[str, Text], Field(min_length=1)] = Field(
        description="Key column of the check to SQL over that entity's source.",
        examples=[{"customer": '"HSHD_NO"'}],
    )
    value: Annotated[dict[str, Text], Field(min_length=1)] = Field(
        description="Compared column to SQL over that entity's source: the row's share in it.",
        examples=[{"lifetime_value": '"SALES_CENTS" / 100.0'}],
    )


_QUERY = {"sql": "SELECT customer, sum(amount) AS spent FROM lines GROUP BY customer"}


class BusinessCheck(Model):
    """A question asked of both databases, compared key by key."""

    name: Text = Field(description="What is compared.", examples=["value of every customer"])
    source: Query = Field(description="The question in the source's words.", examples=[_QUERY])
    target: Query = Field(description="The question in the target's words.", examples=[_QUERY])
    key: KeyNames = Field(
        description="Columns present in both results; every other common column is compared.",
        examples=[["customer"]],
    )
    through: StrictStr | None = Field(
        default=None,
        description="Entity whose row ledger translates the source's key to the target's; only its "
        "live rows are compared.",
        examples=["customers"],
    )
    rejected: RejectedAmounts | None = Field(
        default=None,
        description="What rejected rows take from the source's answer.",
        examples=[{"entity": "lines", "key": {"customer": "c"}, "value": {"spent": "amount"}}],
    )
    tolerance: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal(0), description="Difference that still counts as equal.", examples=[0.01]
    )
