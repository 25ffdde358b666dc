"""pydantic's errors about a connection's extra, in words that show no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from sinew.auth.models import TYPES, Extra
from sinew.spec.findings import show, unknown

Found = tuple[str, str]
_KINDS = {
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "tuple_type": "a list of texts",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "string_sub_type": "a text",
}


def problems_of(error: ValidationError) -> Iterator[Found]:
    """(path in the extra, message) for each error."""
    for item in error.errors(include_url=False):
        loc = _cleaned(item["loc"])
        path = ".".join(map(str, loc))
        yield path or "extra", _message(item, loc)


def _cleaned(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """``loc`` without the tag that pydantic puts after a discriminated union's field."""
    tagged = len(loc) > 1 and loc[0] == "auth" and loc[1] in TYPES
    return (loc[0], *loc[2:]) if tagged else loc


def _message(item: Any, loc: tuple[Any, ...]) -> str:
    kind, context, seen = item["type"], item.get("ctx", {}), item.get("input")
    if kind == "extra_forbidden":
        return unknown("the key", str(loc[-1]), _keys_beside(item["loc"]), "correct or remove it")
    if kind == "missing":
        return f"is missing; {_about(item['loc'])}: add it"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _tag(kind, context)
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return unknown("the value", str(seen), allowed, "write one of these")
    if kind in _KINDS:
        return f"is {_kind_of(seen)}; allowed: {_KINDS[kind]}: change it"
    if kind in ("string_too_short", "too_short"):
        return "is empty; allowed: a text that is not empty: fill it in or remove it"
    if kind == "string_pattern_mismatch":
        return f"is not of the form allowed, {context['pattern']}: correct it"
    reason = item["msg"][:1].lower() + item["msg"][1:]
    return f"is {_kind_of(seen)} and not allowed: {reason}: correct it"


def _tag(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "union_tag_not_found":
        return f"has no type; allowed: {', '.join(TYPES)}: add `type`"
    return "type: " + unknown("the value", str(context["tag"]), TYPES, "write one of these")


def _kind_of(seen: Any) -> str:
    """What a value is; a text may be a secret written into the wrong place, and is not repeated."""
    return "a text" if isinstance(seen, str) else show(seen)


def _about(loc: tuple[Any, ...]) -> str:
    field = _model_at(loc[:-1]).model_fields.get(str(loc[-1]))
    text = (field.description if field else None) or "it is needed"
    return text[0].lower() + text[1:].rstrip(".")


def _keys_beside(loc: tuple[Any, ...]) -> list[str]:
    return [field.alias or name for name, field in _model_at(loc[:-1]).model_fields.items()]


def _model_at(loc: tuple[Any, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Extra
    for part in loc:
        if model is Extra and part == "auth":
            continue
        if part in TYPES and model is Extra:
            model = TYPES[str(part)]
            continue
        field = model.model_fields.get(str(part))
        model = (_model_in(field.annotation) if field else None) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    return next((found for arm in get_args(annotation) if (found := _model_in(arm))), None)


def secrets_in(value: Any) -> Iterator[str]:
    """Every secret's text inside a model, so that it can be masked in what others wrote."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from secrets_in(item)
