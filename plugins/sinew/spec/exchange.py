"""What every exchange with an HTTP API has: time-outs, repeats, limits, and the texts that are filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema

from sinew.spec.columns import Model
from sinew.spec.steps import Scalar, Text

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD_NAME = re.compile(r"[A-Za-z_]\w*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What a connection's authentication sets, or the transport itself; a mapping must hold no secret.
_RESERVED_HEADERS = frozenset(
    [
        "authorization",
        "content-length",
        "cookie",
        "host",
        "proxy-authorization",
        "transfer-encoding",
    ]
)

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1)]


class PathText(str):
    """A JSONPath query (RFC 9535) that a mapping states; the class tells it from other texts."""


def _json_path(value: str) -> str:
    if not value.startswith("$"):
        raise ValueError(
            f"{value!r} is no JSONPath; allowed: a query that begins with $, such as $.data[*] or "
            "$.meta.next: write it so"
        )
    return PathText(value)


JsonPath = Annotated[
    StrictStr, AfterValidator(_json_path), WithJsonSchema({"type": "string", "pattern": "^\\$"})
]


def fields_of(template: str) -> tuple[str, ...]:
    """The names in a template's braces, in order; ``{{`` and ``}}`` stand for braces.

    Raises ValueError for a brace without its partner, and for a name that is none.
    """
    names = []
    for match in _FIELD.finditer(template):
        name = match[1]
        if name is None and len(match[0]) == 1:
            raise ValueError(
                f"{template!r} has a {match[0]} without its partner: close it, or write "
                f"{match[0] * 2} for the sign itself"
            )
        if name is not None and not _FIELD_NAME.fullmatch(name):
            raise ValueError(
                f"{{{name}}} in {template!r} names nothing; allowed: letters, digits and "
                "underscores, such as {customer_id}: correct the name"
            )
        if name is not None:
            names.append(name)
    return tuple(names)


def fields_in(value: Any) -> Iterator[str]:
    """The names in the braces of every text of a body."""
    if isinstance(value, str):
        yield from fields_of(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from fields_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from fields_in(item)


def _checked_template(value: Any) -> Any:
    list(fields_in(value))
    return value


def _checked_path(value: str) -> str:
    fields_of(value)
    if "://" in value or value.startswith("//") or "#" in value:
        raise ValueError(
            f"{value!r} is no path; allowed: a path below the connection's address, such as "
            "/orders: put scheme and host into the connection"
        )
    if "?" in value:
        raise ValueError(f"{value!r} has a query: write its parameters under `params`")
    return value


def _checked_headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or re.search(r"[\r\n\0]", text):
            raise ValueError(f"the header {name!r} is malformed: use a name and one line of text")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(
                f"the header {name!r} does not belong into a mapping: authentication stands in "
                "the connection, and the rest is set by the transport: remove it"
            )
    return value


PathTemplate = Annotated[Text, AfterValidator(_checked_path)]
Parameters = Annotated[
    dict[str, Scalar | tuple[Scalar, ...]], AfterValidator(_checked_template), Field()
]
Body = Annotated[Any, AfterValidator(_checked_template), WithJsonSchema({})]
Headers = Annotated[dict[str, StrictStr], AfterValidator(_checked_headers)]


class Timeouts(Model):
    """Seconds that an exchange may take; none of them can be switched off."""

    connect: Seconds = Field(default=10, description="Seconds to reach the server.", examples=[10])
    read: Seconds = Field(
        default=60, description="Seconds between two pieces of an answer.", examples=[60]
    )
    total: Seconds = Field(
        default=300, description="Seconds that one whole answer may take.", examples=[300]
    )


class Retry(Model):
    """How often and when a request is sent again; only one that does no harm when it arrives twice."""

    attempts: Count = Field(
        default=8, description="How often one request is sent at most.", examples=[8]
    )
    first_delay: Seconds = Field(
        default=0.5,
        description="Longest pause before the second attempt, in seconds; it doubles from attempt "
        "to attempt, and each pause is drawn between nothing and it.",
        examples=[0.5],
    )
    longest_delay: Seconds = Field(
        default=60, description="Longest pause drawn so, in seconds.", examples=[60]
    )
    longest_wait: Seconds = Field(
        default=300,
        description="Longest wait that the server may ask for (Retry-After, a quota that is used up) and get, "
        "in seconds; beyond it the task ends, and says when it may be tried again.",
        examples=[300],
    )


class Limits(Model):
    """What is asked of the server at most, and taken from it."""

    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Ceiling of one process. Tasks that run side by side share the server's limit: "
        "divide it by their number. What the server's own headers say is obeyed besides.",
        examples=[10],
    )
    concurrency: Annotated[StrictInt, Field(ge=1, le=64)] = Field(
        default=4, description="Requests under way at once, at most.", examples=[4]
    )
    answer_bytes: Annotated[StrictInt, Field(ge=1024)] = Field(
        default=64 * 1024 * 1024,
        description="Largest answer that is read, in bytes after decompression.",
        examples=[67108864],
    )


class Exchange(Model):
    """Base of what reads from an API or sends to it."""

    headers: Headers = Field(
        default_factory=dict,
        description="Headers sent along; no secrets, those stand in the connection.",
        examples=[{"Accept-Language": "en"}],
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="What is asked of the server at most.",
        examples=[{"requests_per_second": 10}],
    )
    timeouts: Timeouts = Field(
        default_factory=Timeouts, description="Time-outs, in seconds.", examples=[{"read": 120}]
    )
    retry: Retry = Field(
        default_factory=Retry,
        description="How often and when a request is sent again.",
        examples=[{"attempts": 4}],
    )


Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Flag = StrictBool
