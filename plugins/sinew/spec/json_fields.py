"""Fields of an API's records: paths that lead to one place, and what becomes a column there."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, WithJsonSchema

from sinew.spec.columns import Model

# The place of an element in its array, counted from 1.
ORDINAL = "#"
WILD = "*"
_STEP = re.compile(
    r"\.(?P<name>[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)"
    r"|\[\s*'(?P<single>(?:[^'\\]|\\.)*)'\s*\]|\[\s*\"(?P<double>(?:[^\"\\]|\\.)*)\"\s*\]"
    r"|\[\s*(?P<index>-?\d+)\s*\]|(?P<wild>\[\s*\*\s*\])"
)
Step = str | int


def path_steps(path: str, *, wild: bool = False) -> tuple[Step, ...]:
    """The names and indexes of a JSONPath (RFC 9535) that leads to one place, ``*`` for ``[*]``.

    Raises ValueError for other paths; ``[*]`` is allowed with ``wild`` alone.
    """
    steps: list[Step] = []
    at = 1
    while at < len(path) and path.startswith("$"):
        found = _STEP.match(path, at)
        if found is None or (found["wild"] and not wild):
            break
        steps.append(_step(found))
        at = found.end()
    if not path.startswith("$") or at != len(path):
        allowed = "$.name, $['odd name'], $.list[0]" + (", $.list[*]" if wild else "")
        raise ValueError(
            f"{path!r} is no path that can be followed here; allowed: steps to one place, such as "
            f"{allowed}: write it so"
        )
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    if found["index"] is not None:
        return int(found["index"])
    if found["wild"]:
        return WILD
    quoted = found["single"] if found["single"] is not None else found["double"]
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted)
    return found["name"]


def _field_path(value: str) -> str:
    if value != ORDINAL:
        path_steps(value)
    return value


def _elements_path(value: str) -> str:
    if WILD not in path_steps(value, wild=True):
        raise ValueError(
            f"{value!r} leads to one place; needed: the elements of an array, such as $.lines[*]"
        )
    return value


_SCHEMA = {"type": "string", "pattern": r"^(\$|#$)"}
FieldPath = Annotated[StrictStr, AfterValidator(_field_path), WithJsonSchema(_SCHEMA)]
ElementsPath = Annotated[
    StrictStr,
    AfterValidator(_elements_path),
    WithJsonSchema({"type": "string", "pattern": r"^\$"}),
]


class JsonField(Model):
    """One field of a record."""

    path: FieldPath = Field(
        description="Where it stands in the record; `#` is the place of an element in its array, "
        "from 1.",
        examples=["$.customer.id"],
    )
    type: Literal["text", "json"] = Field(
        default="text",
        description="`text`: the value's text, NULL for null or when it is not there. `json`: the "
        "value as jsonb.",
        examples=["json"],
    )


def _whole(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


Fields = dict[
    str, Annotated[JsonField, BeforeValidator(_whole, json_schema_input_type=FieldPath | JsonField)]
]
