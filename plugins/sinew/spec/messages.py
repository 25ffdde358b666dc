"""pydantic's validation errors in the words of the mapping file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from sinew.spec.columns import COLUMN_CLASSES, KINDS
from sinew.spec.findings import Finding, show, unknown
from sinew.spec.models import Migration
from sinew.spec.parts import NAME_PATTERN
from sinew.spec.positions import Path, Positions
from sinew.spec.steps import TRANSFORMS, BadArgument, UnknownTransform

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}


def findings_of(
    errors: Iterable[Any], positions: Positions, base: Path = (), model: Any = Migration
) -> Iterator[Finding]:
    """One finding for each thing that is wrong, in the order of the errors."""
    branches: dict[Path, list[Any]] = {}
    for error in errors:
        path, left = _walk(base, error["loc"], positions)
        if error["type"] in _EXPECTED and left:
            # The arms of a union fail one by one; its reader wants one message.
            branches.setdefault(path, []).append(error)
        else:
            yield from _finding(error, path, positions, model)
    for path, arms in branches.items():
        wanted = ", ".join(dict.fromkeys(_EXPECTED[arm["type"]] for arm in arms))
        yield Finding(path, _wrong_type(wanted, arms[0]["input"]))


def _walk(base: Path, loc: Iterable[str | int], positions: Positions) -> tuple[Path, list[Any]]:
    """The file's own path in ``loc``, and what is left: tags, arms of unions, missing keys."""
    path, left = base, []
    for part in loc:
        if (*path, part) in positions.values:
            path = (*path, part)
        else:
            left.append(part)
    return path, left


def _finding(error: Any, path: Path, positions: Positions, model: Any) -> Iterator[Finding]:
    kind, loc = error["type"], error["loc"]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, BadArgument):
        shape = TRANSFORMS[cause.name].argument
        yield from findings_of(cause.errors, positions, (*path, cause.name), shape)
    elif kind == "extra_forbidden":
        allowed = _keys_at(model, loc[:-1])
        message = unknown("the key", str(loc[-1]), allowed, "correct its spelling or remove it")
        yield Finding(path[:-1], message, unknown_key=str(loc[-1]))
    elif kind == "missing":
        yield Finding(path, _missing(str(loc[-1]), model, loc[:-1]), at_key=True)
    elif not (kind == "too_short" and error["input"]):
        # Otherwise its items were wrong one by one, and each is told.
        yield Finding(path, _message(error, cause), at_key="[key]" in loc)


def _message(error: Any, cause: Any) -> str:
    kind, seen, context = error["type"], error["input"], error.get("ctx", {})
    if isinstance(cause, UnknownTransform):
        return unknown("the transform", cause.name, TRANSFORMS, "name one of these")
    if cause is not None:
        return str(cause)
    if kind in _EXPECTED:
        return _wrong_type(_EXPECTED[kind], seen)
    if kind == "column_kind":
        return _column_kind(seen)
    if kind == "literal_error":
        return unknown("the value", str(seen), _quoted(context["expected"]), "write one of these")
    if kind == "string_pattern_mismatch":
        return _pattern(str(seen), context["pattern"])
    if kind in ("too_short", "string_too_short"):
        return f"{show(seen)} is too short; at least {context['min_length']} needed: fill it in"
    return f"{show(seen)} is not allowed: {error['msg'][:1].lower()}{error['msg'][1:]}: correct it"


def _wrong_type(wanted: str, seen: Any) -> str:
    quote = wanted.startswith("a text") and isinstance(seen, bool | int | float)
    remedy = "put it in quotes" if quote else "write one of these" if "," in wanted else "change it"
    return f"{show(seen)} is of the wrong type; allowed: {wanted}: {remedy}"


def _column_kind(seen: Any) -> str:
    kinds = ", ".join(KINDS)
    if not isinstance(seen, dict):
        hint = f"write {{from: {seen}}}" if isinstance(seen, str) else "write {from: COLUMN}"
        return f"a column is a map, seen {show(seen)}; allowed: a map with one of {kinds}: {hint}"
    found = [key for key in KINDS if key in seen]
    if found:
        return (
            f"a column is filled in one way, seen {' and '.join(found)}; allowed: exactly one of "
            f"{kinds} (key and python may have from): keep one of them"
        )
    keys = ", ".join(map(repr, seen)) or "no key"
    return f"nothing fills this column, seen {keys}; allowed: one of {kinds}: add one of them"


def _pattern(seen: str, pattern: str) -> str:
    if pattern == NAME_PATTERN:
        return (
            f"{seen!r} is no name; allowed: a lower-case letter, then up to 27 lower-case letters, "
            "digits and underscores: rename it"
        )
    if ":" in pattern:
        return f"{seen!r} names no function; allowed: module:function: write both, with a colon"
    return f"{seen!r} is not of the form needed; allowed: {pattern}: correct it"


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _missing(key: str, model: Any, loc: tuple[Any, ...]) -> str:
    owner = _model_at(model, loc)
    example = next((f.examples for n, f in _fields(owner) if n == key and f.examples), None)
    keys = ", ".join(n for n, f in _fields(owner) if f.is_required())
    shown = f"{key}: {example[0]}" if example else key
    return f"the key {key!r} is missing; needed here: {keys}: add it, such as `{shown}`"


def _fields(model: Any) -> list[tuple[str, Any]]:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [(field.alias or name, field) for name, field in model.model_fields.items()]


def _keys_at(model: Any, loc: tuple[Any, ...]) -> list[str]:
    return [name for name, _ in _fields(_model_at(model, loc))]


def _model_at(model: Any, loc: tuple[Any, ...]) -> Any:
    """The model that reads the value at ``loc``, or None."""
    if get_origin(model) is Annotated:
        return _model_at(get_args(model)[0], loc)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return _model_in(model, loc) if loc else model
    arms = [arm for arm in get_args(model) if arm not in (type(None), Ellipsis)]
    if not arms or not loc:
        return _model_at(arms[-1], loc) if len(arms) == 1 else None
    if str(loc[0]).startswith("column:"):
        return _model_at(COLUMN_CLASSES[str(loc[0])[len("column:") :]], loc[1:])
    tagged = [arm for arm in arms if loc[0] in _tags(arm)]
    if tagged:
        return _model_at(tagged[0], loc[1:])
    if str(loc[0]).startswith("concat:"):
        return _model_at(arms[-1], loc[1:])
    inside = get_origin(model) in (tuple, dict)
    return _model_at(arms[-1], loc[1:] if inside else loc)


def _tags(model: Any) -> set[Any]:
    """The words of a model's own that tell it from the other arms of a union."""
    literals = [f.annotation for _, f in _fields(model) if get_origin(f.annotation) is Literal]
    return {word for literal in literals[:8] for word in get_args(literal)}


def _model_in(model: type[BaseModel], loc: tuple[Any, ...]) -> Any:
    field = next((f for name, f in _fields(model) if name == loc[0]), None)
    return _model_at(field.annotation, loc[1:]) if field is not None else None
