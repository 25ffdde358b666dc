"""A collection of records that an HTTP API hands out, as a mapping declares it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, model_validator

from sinew.spec.columns import Model
from sinew.spec.exchange import (
    Body,
    Exchange,
    JsonPath,
    Parameters,
    PathTemplate,
    fields_in,
    fields_of,
)
from sinew.spec.pagination import OnePage, Pagination
from sinew.spec.steps import Text

FORMATS = ("rfc3339", "date", "epoch_seconds", "epoch_milliseconds")


def _format(value: str) -> str:
    if value in FORMATS or "%" in value:
        return value
    raise ValueError(
        f"{value!r} is no format of a moment; allowed: {', '.join(FORMATS)}, or a pattern of "
        "strftime such as %Y%m%dT%H%M%S: write one of these"
    )


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_name(value: str) -> str:
    if value not in _zone_names():
        raise ValueError(
            f"{value!r} is no time zone; allowed: the names of the IANA database, such as "
            "Europe/Berlin or UTC: correct it"
        )
    return value


class Moments(Model):
    """How the API writes a moment."""

    format: Annotated[Text, AfterValidator(_format)] = Field(
        default="rfc3339",
        description="`rfc3339` (2026-03-29T00:00:00.000000Z), `date`, `epoch_seconds`, "
        "`epoch_milliseconds`, or a pattern of strftime.",
        examples=["rfc3339"],
    )
    precision: Literal["seconds", "milliseconds", "microseconds"] = Field(
        default="microseconds",
        description="Decimals of `rfc3339`. A bound of a window that is finer than the format "
        "can say is an error, never rounded; with `by: since` the reading begins a bit earlier.",
        examples=["seconds"],
    )
    zone: Annotated[Text, AfterValidator(zone_name)] = Field(
        default="UTC",
        description="Time zone in which moments are written.",
        examples=["Europe/Berlin"],
    )

    @property
    def tz(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.zone)


class Window(Moments):
    """The API takes a window: records that changed from one moment up to another.

    Windows are half-open. Where the API sees its bounds otherwise, a bound is moved by the smallest
    step that the format can say, unless records could lie within that step.
    """

    by: Literal["window"] = Field(description="Two parameters bound a window.", examples=["window"])
    from_parameter: Text = Field(
        description="Parameter of the window's lower bound.", examples=["updated_from"]
    )
    to_parameter: Text = Field(
        description="Parameter of the window's upper bound.", examples=["updated_to"]
    )
    lower: Literal["inclusive", "exclusive"] = Field(
        default="inclusive",
        description="Whether the API hands out a record that lies on the lower bound.",
        examples=["inclusive"],
    )
    upper: Literal["inclusive", "exclusive"] = Field(
        default="exclusive",
        description="Whether the API hands out a record that lies on the upper bound.",
        examples=["exclusive"],
    )


class Since(Moments):
    """The API takes one moment: records that changed since."""

    by: Literal["since"] = Field(description="One parameter says since when.", examples=["since"])
    parameter: Text = Field(description="Its name.", examples=["updated_since"])


class Bookmark(Model):
    """The API hands out a token with its answer, and takes it back the next time."""

    by: Literal["bookmark"] = Field(
        description="A token of the last reading says what is new.", examples=["bookmark"]
    )
    parameter: Text = Field(description="Parameter that carries it.", examples=["sync_token"])
    at: JsonPath = Field(
        description="Where the answer holds it; the last page's counts.",
        examples=["$.next_sync_token"],
    )


Incremental = Annotated[Window | Since | Bookmark, Field(discriminator="by")]


class Each(Model):
    """For each record of a parent, this resource."""

    of: Resource | Text = Field(
        description="The parent: another resource, or the name of one that was read before.",
        examples=["orders"],
    )
    take: Annotated[dict[str, JsonPath], Field(min_length=1)] = Field(
        description="Name in the path's, parameters' or body's braces to where its value stands in "
        "the parent's record.",
        examples=[{"order_id": "$.id"}],
    )
    gone: Literal["fail", "skip"] = Field(
        default="fail",
        description="What 404 or 410 for one parent means: `fail`, or `skip` that parent, which "
        "was deleted in the meantime.",
        examples=["skip"],
    )


class Resource(Exchange):
    """A collection of records: where it is, how its pages follow one another, what a record is."""

    path: PathTemplate = Field(
        description="Path below the connection's address; `{name}` is filled in, percent-encoded.",
        examples=["/orders/{order_id}/lines"],
    )
    method: Literal["GET", "POST"] = Field(
        default="GET",
        description="POST is for APIs that take a query in the body; a reading changes nothing, so "
        "it is repeated like GET.",
        examples=["GET"],
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Parameters of the query; `{name}` in a text is filled in.",
        examples=[{"status": "paid", "expand": ["lines", "customer"]}],
    )
    body: Body = Field(
        default=None,
        description="JSON body of a POST; `{name}` in its texts is filled in.",
        examples=[{"query": {"status": "paid"}}],
    )
    records: JsonPath = Field(
        default="$",
        description="Where an answer holds its records. A path to one array means its elements, "
        "one to an object means that object.",
        examples=["$.data[*]"],
    )
    no_records: Literal["fail", "empty"] = Field(
        default="fail",
        description="What an answer means in which nothing (or null) is at `records`: `fail`, it "
        "is another kind of answer, or `empty`, a page without records.",
        examples=["empty"],
    )
    key: Annotated[tuple[JsonPath, ...], Field()] = Field(
        default=(),
        description="What tells one record from another, within a record; default: all of it. "
        "Pages are compared by it, so that a record that merely changed does not look moved.",
        examples=[["$.id"]],
    )
    pagination: Pagination = Field(
        default_factory=OnePage,
        description="How pages follow one another.",
        examples=[{"style": "cursor", "next": "$.next", "parameter": "cursor"}],
    )
    incremental: Incremental | None = Field(
        default=None,
        description="How only what is new is asked for.",
        examples=[{"by": "since", "parameter": "updated_since"}],
    )
    each: Each | None = Field(
        default=None,
        description="Read once for each record of a parent.",
        examples=[{"of": "orders", "take": {"order_id": "$.id"}}],
    )

    @model_validator(mode="after")
    def _body_goes_with_post(self) -> Resource:
        in_body = getattr(self.pagination, "send_in", "query") == "body"
        if self.method == "GET" and (self.body is not None or in_body):
            raise ValueError("a GET has no body: write `method: POST`, or use `params`")
        if in_body and not isinstance(self.body, dict | None):
            raise ValueError("`send_in: body` needs a body that is a map: write one, or none")
        if self.each is not None and not set(self.each.take) & set(self.fields):
            raise ValueError(
                f"`each` takes {', '.join(self.each.take)}, but neither path, params nor body "
                "names any of it in braces: all parents would get the same answer"
            )
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names in braces that a reading must be given, in the order of path, params, body."""
        inside = [*fields_in(self.params), *fields_in(self.body)]
        return tuple(dict.fromkeys([*fields_of(self.path), *inside]))


Each.model_rebuild()
Resource.model_rebuild()
