"""The six ways to fill a target column, one class each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    StrictStr,
    Tag,
    WithJsonSchema,
    model_validator,
)

from sinew.spec.steps import Scalar, Step, Text

KINDS = ("key", "from", "expr", "value", "ref", "python")

OnError = Annotated[
    Literal["reject", "null", "fail"],
    BeforeValidator(lambda value: "null" if value is None else value),
    WithJsonSchema({"enum": ["reject", "null", "fail", None]}),
]


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


_NAME_SCHEMA = {"type": "string", "minLength": 1}
Names = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    BeforeValidator(_names),
    WithJsonSchema(
        {"anyOf": [_NAME_SCHEMA, {"type": "array", "items": _NAME_SCHEMA, "minItems": 1}]}
    ),
]


class Model(BaseModel):
    """Base of everything that a mapping says: frozen, and no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ColumnBase(Model):
    """What all columns share. ``name`` is the target column."""

    kind: ClassVar[str] = ""
    _name: str = PrivateAttr(default="")

    do: tuple[Step, ...] = Field(
        default=(), description="Transforms, applied in order.", examples=[["trim", "lower"]]
    )
    default: Scalar | None = Field(
        default=None, description="Taken when the value is NULL after `do`.", examples=["unknown"]
    )
    on_error: OnError = Field(
        default="reject",
        description="What a value that cannot be converted does: `reject` keeps the row out with "
        "its reason, `null` keeps the row without the value, `fail` stops the batch.",
        examples=["reject"],
    )
    pii: bool = Field(
        default=False,
        description="Personal data: masked in rejects, samples, logs and reports.",
        examples=[True],
    )

    @property
    def name(self) -> str:
        """The target column's name."""
        return self._name

    @property
    def reads(self) -> tuple[str, ...]:
        """Source columns named outright, each once; those inside an ``expr`` are not among them."""
        return tuple(dict.fromkeys((*self._reads(), *self._concatenated())))

    def _reads(self) -> tuple[str, ...]:
        return ()

    def _concatenated(self) -> list[str]:
        parts = [part for step in self.do if step.name == "concat" for part in step.argument]
        return [part["column"] for part in parts if isinstance(part, dict)]


class KeyColumn(ColumnBase):
    """A column of the target's key, made from the source key."""

    kind: ClassVar[str] = "key"

    strategy: Literal["copy", "uuid", "identity"] = Field(
        alias="key",
        description="`copy` takes the source's key column; `uuid` makes a UUID that depends on "
        "the pipeline, the entity and the source key alone; `identity` takes the number that the "
        "target gives.",
        examples=["uuid"],
    )
    column: Text | None = Field(
        default=None,
        alias="from",
        description="Source column to copy; default: the single key column.",
        examples=["HSHD_NO"],
    )
    namespace: Text | None = Field(
        default=None,
        description="What a `uuid` is made in, besides the source key; default: "
        "`<migration>/<entity>`. Write it down before renaming either, and no key changes.",
        examples=["retail/customers"],
    )

    @model_validator(mode="after")
    def _only_copy_takes_more(self) -> KeyColumn:
        given = [key for key, used in (("from", self.column), ("do", self.do)) if used]
        if self.strategy != "copy" and given:
            raise ValueError(
                f"`key: {self.strategy}` makes its own value, but {' and '.join(given)} was given "
                f"too; only `key: copy` takes from and do: remove {' and '.join(given)}"
            )
        if self.namespace is not None and self.strategy != "uuid":
            raise ValueError(
                f"`namespace` has no meaning with `key: {self.strategy}`; allowed: with "
                "`key: uuid`: remove it"
            )
        if self.default is not None or self.on_error == "null":
            raise ValueError(
                "a key column is never NULL, so `default` and `on_error: null` have no meaning "
                "here; on_error may be reject or fail: remove them"
            )
        return self

    def _reads(self) -> tuple[str, ...]:
        return (self.column,) if self.column else ()


class FromColumn(ColumnBase):
    """A column filled from one source column."""

    kind: ClassVar[str] = "from"

    column: Text = Field(alias="from", description="Source column.", examples=["EMAIL_ADDR"])

    def _reads(self) -> tuple[str, ...]:
        return (self.column,)


class ExprColumn(ColumnBase):
    """A column filled by an SQL expression over the source's columns."""

    kind: ClassVar[str] = "expr"

    sql: Text = Field(
        alias="expr",
        description="Postgres SQL expression over the source's columns.",
        examples=['"SALES_VALUE"::numeric / 100'],
    )


class ValueColumn(ColumnBase):
    """A column with the same value in every row."""

    kind: ClassVar[str] = "value"

    value: Scalar | None = Field(description="The value of every row.", examples=["legacy"])


class RefColumn(ColumnBase):
    """A reference to another entity, translated through that entity's row ledger."""

    kind: ClassVar[str] = "ref"

    entity: StrictStr = Field(
        alias="ref", description="Entity that is referred to.", examples=["customers"]
    )
    by: Names = Field(
        description="Source columns that hold the parent's source key, in the order of its `key`.",
        examples=["HSHD_NO"],
    )
    take: Text | None = Field(
        default=None,
        description="Column of the parent's target key; default: the only one.",
        examples=["customer_id"],
    )

    @model_validator(mode="after")
    def _no_transforms(self) -> RefColumn:
        if self.do:
            raise ValueError(
                "a `ref` is looked up by the raw source key, so it takes no `do`: remove `do`, or "
                "fill the column with `expr`"
            )
        return self

    def _reads(self) -> tuple[str, ...]:
        return self.by


class PythonColumn(ColumnBase):
    """A column computed by a vectorised Python function over pandas columns."""

    kind: ClassVar[str] = "python"
    _source: str = PrivateAttr(default="")

    function: str = Field(
        alias="python",
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`module:function` in include/mappings/python/; it gets a pandas DataFrame "
        "with the columns of `from` and returns a Series of the same index.",
        examples=["retail_scores:score"],
    )
    columns: Names = Field(
        alias="from", description="Source columns of the DataFrame.", examples=[["COL1", "COL2"]]
    )

    @property
    def module(self) -> str:
        """The module's dotted name under include/mappings/python/."""
        return self.function.partition(":")[0]

    @property
    def callable_name(self) -> str:
        """The function's name in the module."""
        return self.function.partition(":")[2]

    @property
    def source(self) -> str:
        """The module's text as it was read; part of the fingerprint."""
        return self._source

    def _reads(self) -> tuple[str, ...]:
        return self.columns


COLUMN_CLASSES: dict[str, type[ColumnBase]] = {
    cls.kind: cls
    for cls in (KeyColumn, FromColumn, ExprColumn, ValueColumn, RefColumn, PythonColumn)
}


def tag_of(value: Any) -> str | None:
    """Which class reads a column; None when it names no kind, or more than one."""
    if isinstance(value, ColumnBase):
        return f"column:{value.kind}"
    if not isinstance(value, dict):
        return None
    kinds = [kind for kind in KINDS if kind in value]
    if len(kinds) == 2 and "from" in kinds and ("key" in kinds or "python" in kinds):
        kinds.remove("from")
    return f"column:{kinds[0]}" if len(kinds) == 1 else None


Column = Annotated[
    Annotated[KeyColumn, Tag("column:key")]
    | Annotated[FromColumn, Tag("column:from")]
    | Annotated[ExprColumn, Tag("column:expr")]
    | Annotated[ValueColumn, Tag("column:value")]
    | Annotated[RefColumn, Tag("column:ref")]
    | Annotated[PythonColumn, Tag("column:python")],
    Discriminator(
        tag_of,
        custom_error_type="column_kind",
        custom_error_message="a column needs exactly one of key, from, expr, value, ref, python",
    ),
]
