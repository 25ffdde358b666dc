"""Fill in the texts of a mapping: paths, parameters and bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sinew.errors import ConfigurationError, FatalError

_FIELD = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w*)\}")


class UnfitError(FatalError):
    """A value cannot stand where a text has a name in braces; says which and why, never the value."""


def as_text(value: Any, name: str) -> str:
    """A scalar as an API's parameter has it: true and false in small letters, numbers exact."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int | float | UUID):
        return str(value)
    what = "nothing" if value is None else f"a {type(value).__name__}"
    raise UnfitError(f"{name!r} is {what}; allowed: a text, a number, a date or a boolean")


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The template with its names replaced."""

    def put(match: re.Match[str]) -> str:
        name = match[1]
        return match[0][0] if name is None else as_text(_look_up(values, name), name)

    return _FIELD.sub(put, template)


def fill_path(template: str, values: Mapping[str, Any]) -> str:
    """A path with its names replaced, percent-encoded (RFC 3986, section 2.1).

    Raises UnfitError for a value that would name another place: '' would turn one record's path
    into the whole collection's, and a path forgets segments that are '.' or '..'.
    """

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return quote(match[0][0], safe="")
        text = as_text(_look_up(values, name), name)
        if text in ("", ".", ".."):
            raise UnfitError(
                f"{name!r} is {text!r}, which would lead {template} to another place: such a "
                "record cannot be addressed"
            )
        try:
            return quote(text, safe="")
        except UnicodeEncodeError:
            raise UnfitError(f"{name!r} has an unpaired surrogate, which is no character") from None

    return _FIELD.sub(put, template)


def fill_params(params: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters of a query as pairs; a list repeats its name."""
    pairs = []
    for name, given in params.items():
        for item in given if isinstance(given, list | tuple) else (given,):
            text = fill(item, values) if isinstance(item, str) else as_text(item, name)
            pairs.append((name, text))
    return pairs


def fill_body(body: Any, values: Mapping[str, Any]) -> Any:
    """A body with its names replaced; a text that is one name alone becomes the value, type and all."""
    if isinstance(body, Mapping):
        return {key: fill_body(item, values) for key, item in body.items()}
    if isinstance(body, list | tuple):
        return [fill_body(item, values) for item in body]
    if not isinstance(body, str):
        return body
    alone = re.fullmatch(r"\{([A-Za-z_]\w*)\}", body)
    return _look_up(values, alone[1]) if alone else fill(body, values)


def _look_up(values: Mapping[str, Any], name: str) -> Any:
    if name in values:
        return values[name]
    given = ", ".join(sorted(values)) or "nothing"
    raise ConfigurationError(
        f"{{{name}}} is not filled in; given: {given}: name one of these, or give {name}"
    )
