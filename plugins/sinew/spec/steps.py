"""The transforms that a column's ``do`` list may name, and the shape of each one's argument."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

Scalar = StrictStr | StrictBool | StrictInt | StrictFloat
Text = Annotated[StrictStr, Field(min_length=1)]

_DATE_TOKENS = r"(?:YYYY|YY|MM|MON|DD|[-./ ,])"
_TIME_TOKENS = r"(?:YYYY|YY|MM|MON|DD|HH24|HH|MI|SS|MS|US|T|Z|[-./ ,:])"
_TYPE_NAME = r'^[A-Za-z_"][\w ."]*(\(\s*\d+\s*(,\s*-?\d+\s*)?\))?[\w ]*(\[\])*$'


def _as_text(value: Any) -> Any:
    """Texts are compared with texts: a number or a boolean means what its author wrote."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _date_pattern(tokens: str, example: str) -> AfterValidator:
    def check(value: str) -> str:
        parts = (("YY",), ("MM", "MON"), ("DD",))
        complete = all(any(token in value for token in part) for part in parts)
        if not complete or not re.fullmatch(tokens + "+", value):
            raise ValueError(
                f"the pattern must be made of year, month and day, such as {example}; "
                f"tokens allowed: {tokens[3:-1].replace('|', ', ')}"
            )
        return value

    return AfterValidator(check)


def _not_zero(value: int) -> int:
    if value == 0:
        raise ValueError("parts count from 1, or from -1 at the end; 0 names no part")
    return value


class _Argument(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


_LOOSE_TEXT = {"type": ["string", "number", "boolean"]}
LooseText = Annotated[
    StrictStr,
    BeforeValidator(_as_text),
    WithJsonSchema(_LOOSE_TEXT),
]
LooseTexts = Annotated[
    tuple[LooseText, ...],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    WithJsonSchema(
        {"anyOf": [_LOOSE_TEXT, {"type": "array", "items": _LOOSE_TEXT, "minItems": 1}]}
    ),
]
Letter = Annotated[StrictStr, Field(min_length=1, max_length=1)]


class NumberFormat(_Argument):
    """How a number is written: its decimal sign and the sign between groups of digits."""

    decimal: Letter = Field(default=".", description="Sign before the decimals.", examples=[","])
    group: Letter | None = Field(
        default=None, description="Sign between groups of digits.", examples=["."]
    )


class BoolFormat(_Argument):
    """The texts that mean true and those that mean false."""

    true: LooseTexts = Field(description="Texts that mean true.", examples=[["Y", "1"]])
    false: LooseTexts = Field(description="Texts that mean false.", examples=[["N", "0"]])


class SplitFormat(_Argument):
    """A separator and the part to take."""

    on: StrictStr = Field(min_length=1, description="Separator.", examples=[","])
    part: Annotated[StrictInt, AfterValidator(_not_zero)] = Field(
        description="Which part, from 1; negative counts from the end.", examples=[1]
    )


class ReplaceFormat(_Argument):
    """A Postgres regular expression and what takes the place of every match."""

    pattern: Text = Field(description="Postgres regular expression.", examples=["[^0-9]"])
    with_: StrictStr = Field(
        alias="with", description=r"Text; \1 is the first group.", examples=[""]
    )


class SourceColumn(_Argument):
    """A source column in the place of a text."""

    column: Text = Field(description="Source column.", examples=["FIRST"])


ConcatPart = Annotated[
    Annotated[LooseText, Tag("concat:text")] | Annotated[SourceColumn, Tag("concat:column")],
    Discriminator(
        lambda part: "concat:text" if isinstance(part, str | int | float) else "concat:column"
    ),
]


class ScaleFormat(_Argument):
    """What the number is divided by."""

    divide: Annotated[StrictInt | StrictFloat, Field(gt=0)] = Field(
        description="Divisor.", examples=[100]
    )


@dataclass(frozen=True)
class Transform:
    """One named transform; ``argument`` is its type, ``bare`` says that it may stand alone."""

    summary: str
    example: str
    argument: Any = None
    bare: bool = False

    @property
    def takes_argument(self) -> bool:
        """Whether an argument may be given at all."""
        return self.argument is not None


TRANSFORMS: dict[str, Transform] = {
    "trim": Transform("Removes white space at both ends.", "trim", bare=True),
    "squeeze": Transform("Turns every run of white space into one blank.", "squeeze", bare=True),
    "upper": Transform("Upper case.", "upper", bare=True),
    "lower": Transform("Lower case.", "lower", bare=True),
    "title": Transform("First letter of each word in upper case.", "title", bare=True),
    "nullif": Transform("The texts listed become NULL.", "{nullif: ['', N/A]}", LooseTexts),
    "map": Transform(
        "Translates codes; a value without an entry is an error unless the key '*' is there.",
        "{map: {A: active, '*': unknown}}",
        Annotated[dict[str, LooseText | None], Field(min_length=1)],
    ),
    "default": Transform("Takes the place of NULL.", "{default: unknown}", Scalar),
    "cast": Transform(
        "Casts strictly to a Postgres type.",
        "{cast: integer}",
        Annotated[StrictStr, Field(pattern=_TYPE_NAME)],
    ),
    "parse_date": Transform(
        "Reads a date written exactly in the pattern.",
        "{parse_date: YYYYMMDD}",
        Annotated[StrictStr, _date_pattern(_DATE_TOKENS, "YYYYMMDD or DD.MM.YYYY")],
    ),
    "parse_timestamp": Transform(
        "Reads a timestamp written exactly in the pattern; a last Z means UTC.",
        "{parse_timestamp: 'YYYY-MM-DD HH24:MI:SS'}",
        Annotated[StrictStr, _date_pattern(_TIME_TOKENS, "YYYY-MM-DD HH24:MI:SS")],
    ),
    "parse_number": Transform(
        "Reads a number; bare means a decimal point and no groups.",
        "{parse_number: {decimal: ',', group: '.'}}",
        NumberFormat,
        bare=True,
    ),
    "to_bool": Transform(
        "Reads a truth value; bare means y/n, yes/no, t/f, true/false, 1/0 in any case.",
        "{to_bool: {true: [J, 1], false: [N, 0]}}",
        BoolFormat,
        bare=True,
    ),
    "split": Transform("Takes one part of a text.", "{split: {on: ',', part: 1}}", SplitFormat),
    "concat": Transform(
        "Joins texts and columns in the order given; NULL columns add nothing, all NULL is NULL.",
        "{concat: [{column: FIRST}, ' ', {column: LAST}]}",
        Annotated[tuple[ConcatPart, ...], Field(min_length=1)],
    ),
    "replace": Transform(
        "Replaces every match of a regular expression.",
        "{replace: {pattern: '[^0-9]', with: ''}}",
        ReplaceFormat,
    ),
    "check": Transform(
        "Rejects a value that does not match the regular expression.", "{check: '^[0-9]+$'}", Text
    ),
    "round": Transform(
        "Rounds to n decimals: the loss is declared.",
        "{round: 2}",
        Annotated[StrictInt, Field(ge=-20, le=20)],
    ),
    "truncate": Transform(
        "Cuts a text to n characters, a number or seconds to n decimals: the loss is declared.",
        "{truncate: 40}",
        Annotated[StrictInt, Field(ge=0)],
    ),
    "hash": Transform("Puts a digest in its place.", "{hash: sha256}", Literal["sha256"]),
    "mask": Transform(
        "Hides all of the value, or all but its last n characters.",
        "{mask: keep_last 4}",
        Annotated[StrictStr, Field(pattern=r"^(all|keep_last [1-9]\d*)$")],
    ),
    "tz": Transform(
        "Says in which zone a timestamp without zone was written, or shows one with zone there.",
        "{tz: Europe/Berlin}",
        Text,
    ),
    "scale": Transform("Divides a number exactly.", "{scale: {divide: 100}}", ScaleFormat),
}


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    # Built when first used: thirty of them at import would be paid by every DAG parse.
    return TypeAdapter(TRANSFORMS[name].argument)


class Step(BaseModel):
    """One transform of a ``do`` list: its name and its argument (None when it stands bare).

    Arguments are plain values: str, int, float, bool, dict with the keys of the file, and tuple.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    argument: Any = None

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        return _read_step(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A bare name, or a map of one name to its argument."""
        return step_schema()


def _read_step(value: Any) -> Any:
    named = value.get("name") if isinstance(value, dict) else None
    if isinstance(value, Step) or (isinstance(named, str) and named in TRANSFORMS):
        return value  # made in Python, Step(name=..., argument=...): its maker is trusted
    name, argument, given = _name_and_argument(value)
    transform = TRANSFORMS.get(name)
    if transform is None:
        raise UnknownTransform(name)
    if not given:
        if not transform.bare:
            raise ValueError(f"the transform {name!r} needs an argument: write {transform.example}")
        return {"name": name, "argument": None}
    if not transform.takes_argument:
        raise ValueError(f"the transform {name!r} takes no argument: write just {name}")
    return {"name": name, "argument": _check_argument(name, argument)}


def _name_and_argument(value: Any) -> tuple[str, Any, bool]:
    if isinstance(value, str):
        return value, None, False
    if isinstance(value, dict) and len(value) == 1:
        name, argument = next(iter(value.items()))
        return str(name), argument, True
    raise ValueError(
        "a step is a transform's bare name or a map of one name to its argument: "
        "write trim or {nullif: ''}"
    )


class UnknownTransform(ValueError):
    """A step names a transform that is not there."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no transform {name!r}")


class BadArgument(ValueError):
    """A transform's argument is malformed; ``errors`` are pydantic's, relative to the argument."""

    def __init__(self, name: str, errors: list[Any]) -> None:
        self.name, self.errors = name, errors
        super().__init__(f"the argument of {name!r} is wrong: {errors[0]['msg']}")


def _check_argument(name: str, argument: Any) -> Any:
    try:
        checked = _adapter(name).validate_python(argument)
    except ValidationError as error:
        raise BadArgument(name, list(error.errors(include_url=False))) from None
    return _plain(checked)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {
            key: _plain(item)
            for key, item in value.model_dump(by_alias=True, exclude_unset=True).items()
        }
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value


def step_schema() -> dict[str, Any]:
    """JSON Schema of one step."""
    bare = [name for name, transform in TRANSFORMS.items() if transform.bare]
    forms: list[dict[str, Any]] = [{"type": "string", "enum": bare}]
    for name, transform in TRANSFORMS.items():
        if transform.takes_argument:
            forms.append(_one_key_schema(name, transform))
    return {"description": "A transform: its name, or its name and argument.", "oneOf": forms}


def _one_key_schema(name: str, transform: Transform) -> dict[str, Any]:
    argument = inline(_adapter(name).json_schema())
    return {
        "type": "object",
        "description": f"{transform.summary} Example: {transform.example}",
        "properties": {name: argument},
        "required": [name],
        "additionalProperties": False,
    }


def inline(schema: dict[str, Any]) -> dict[str, Any]:
    """Put each ``$ref`` of a schema without recursion in its place."""
    definitions = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict) and "$ref" in value:
            return put(definitions[value["$ref"].rsplit("/", 1)[1]])
        if isinstance(value, dict):
            return {key: put(item) for key, item in value.items()}
        return [put(item) for item in value] if isinstance(value, list) else value

    result: dict[str, Any] = put(schema)
    return result
