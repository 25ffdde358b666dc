"""Where rows are sent to, and how an HTTP API takes them, as a mapping declares it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictInt, model_validator

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
from sinew.spec.steps import Scalar, Text

ChangeKind = Literal["create", "update", "delete"]
CHANGES: tuple[ChangeKind, ...] = ("create", "update", "delete")
# What a body may name besides a row's columns.
OWN_FIELDS = ("idempotency_key", "change", "version")
ROWS = "{rows}"
_Status = Annotated[StrictInt, Field(ge=200, le=599)]
_NEVER_ACCEPTED = frozenset([401, 403, 408, 425, 429])


def _acceptable(statuses: tuple[int, ...]) -> tuple[int, ...]:
    wrong = sorted(status for status in statuses if status in _NEVER_ACCEPTED or status >= 500)
    if wrong:
        raise ValueError(
            f"{', '.join(map(str, wrong))} cannot count as done; allowed: statuses that speak of the "
            "row itself, such as 404 or 409: remove it"
        )
    return statuses


Statuses = Annotated[tuple[_Status, ...], AfterValidator(_acceptable)]


class Change(Model):
    """How one kind of change is sent."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = Field(
        description="Method of the request.", examples=["PUT"]
    )
    path: PathTemplate = Field(
        description="Path below the connection's address; `{column}` is the row's value, "
        "percent-encoded.",
        examples=["/contacts/{external_id}"],
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Parameters of the query; `{column}` in a text is the row's value.",
        examples=[{"notify": False}],
    )
    body: Body = Field(
        default=None,
        description="JSON body; a text that is just `{column}` becomes the column's value. Also to be "
        "named: {idempotency_key}, {change}, {version}. Default: all columns; none for DELETE.",
        examples=[{"contact": {"email": "{email}", "name": "{full_name}"}}],
    )
    done: Statuses = Field(
        default=(),
        description="Statuses besides 2xx with which the row counts as sent: 404 and 410 for a "
        "`delete` whose record is gone already (the default there).",
        examples=[[404, 410]],
    )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names in braces, in the order of path, params, body."""
        inside = [*fields_in(self.params), *fields_in(self.body)]
        return tuple(dict.fromkeys([*fields_of(self.path), *inside]))


class Bulk(Model):
    """Several rows in one request, and what the answer says about each."""

    changes: Annotated[tuple[ChangeKind, ...], Field(min_length=1)] = Field(
        default=("create", "update"),
        description="Kinds of change that are sent in bulk; one request holds one kind.",
        examples=[["create", "update"]],
    )
    size: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(
        default=100, description="Rows in one request, at most.", examples=[100]
    )
    envelope: Body = Field(
        default=ROWS,
        description="JSON body around the rows; the text `{rows}` becomes their list.",
        examples=[{"contacts": "{rows}"}],
    )
    results: JsonPath = Field(
        description="Where the answer holds what became of each row.", examples=["$.results[*]"]
    )
    match_by: Literal["order", "id"] = Field(
        default="order",
        description="Which result belongs to which row: in the order of the rows, or by an id.",
        examples=["id"],
    )
    id: JsonPath | None = Field(
        default=None,
        description="With `match_by: id`: where a result holds the row's id.",
        examples=["$.external_id"],
    )
    id_column: Text | None = Field(
        default=None,
        description="With `match_by: id`: the column that holds the same id.",
        examples=["external_id"],
    )
    status: JsonPath | None = Field(
        default=None,
        description="Where a result says whether the row was taken: an HTTP status (2xx), true, or a "
        "word of `ok`. Without it, a result with an `error` is a refusal.",
        examples=["$.status"],
    )
    ok: tuple[Scalar, ...] = Field(
        default=(),
        description="Values of `status` that mean that the row was taken, besides 2xx and true.",
        examples=[["ok", "created", "updated"]],
    )
    error: JsonPath | None = Field(
        default=None,
        description="Where a result says why the row was refused.",
        examples=["$.error"],
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Bulk:
        if (self.match_by == "id") != (self.id is not None and self.id_column is not None):
            raise ValueError(
                "`match_by: id` needs `id` and `id_column`, and only it has them: give both, or remove them"
            )
        if self.status is None and self.error is None:
            raise ValueError("nothing says which rows were taken: give `status`, `error` or both")
        if list(_texts(self.envelope)).count(ROWS) != 1:
            raise ValueError(
                f"the envelope needs the text {ROWS!r} exactly once, where the rows go: write it there"
            )
        return self


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


class ReadBack(Model):
    """How a row is looked up at the API, to be compared with what was sent."""

    path: PathTemplate = Field(
        description="Path of one record; `{column}` is the row's value.",
        examples=["/contacts/{external_id}"],
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Parameters of the query; `{column}` in a text is the row's value.",
        examples=[{"external_id": "{external_id}"}],
    )
    record: JsonPath = Field(
        default="$",
        description="Where the answer holds the record; nothing there, an empty list, 404 and 410 "
        "mean that there is none.",
        examples=["$.data[0]"],
    )
    compare: Annotated[dict[str, JsonPath], Field(min_length=1)] = Field(
        description="Column to where its value stands in the record.",
        examples=[{"email": "$.email"}],
    )


class Delivery(Exchange):
    """Rows that are sent to an API: one request for each change, or several rows at once."""

    create: Change | None = Field(
        default=None,
        description="How a new row is sent.",
        examples=[{"method": "POST", "path": "/contacts"}],
    )
    update: Change | None = Field(
        default=None,
        description="How a changed row is sent.",
        examples=[{"method": "PUT", "path": "/contacts/{external_id}"}],
    )
    delete: Change | None = Field(
        default=None,
        description="How a row that is gone is sent.",
        examples=[{"method": "DELETE", "path": "/contacts/{external_id}"}],
    )
    decimals: Literal["number", "text"] = Field(
        default="number",
        description="How decimal columns are written in a body: as JSON numbers, every digit kept, or "
        "as texts, for an API that takes money so.",
        examples=["text"],
    )
    conflict: Literal["refuse", "accept", "update"] = Field(
        default="refuse",
        description="What 409 for a new row means: `refuse`, the row is a reject; `accept`, what is "
        "there will do; `update`, the row is sent as an update.",
        examples=["update"],
    )
    idempotency_header: Text | None = Field(
        default=None,
        description="Header that carries the row's idempotency key. Without it (and without "
        "{idempotency_key} in a body) a POST or PATCH whose outcome is unknown is not sent again "
        "before the row was looked up.",
        examples=["Idempotency-Key"],
    )
    remote_id: JsonPath | None = Field(
        default=None,
        description="Where an answer (in bulk: a result) holds the API's own id of the record.",
        examples=["$.id"],
    )
    bulk: Bulk | None = Field(
        default=None,
        description="Several rows in one request.",
        examples=[{"size": 100, "results": "$.results[*]", "status": "$.status"}],
    )
    read_back: ReadBack | None = Field(
        default=None,
        description="How a row is looked up and compared.",
        examples=[{"path": "/contacts/{external_id}", "compare": {"email": "$.email"}}],
    )

    @model_validator(mode="after")
    def _something_to_send(self) -> Delivery:
        if not any(self.change(kind) for kind in CHANGES):
            raise ValueError(
                "nothing is sent: declare `create`, `update`, `delete` or some of them"
            )
        if self.conflict == "update" and self.update is None:
            raise ValueError("`conflict: update` needs `update`: say how a row is updated")
        if self.bulk is not None:
            self._check_bulk(self.bulk)
        return self

    def _check_bulk(self, bulk: Bulk) -> None:
        for kind in bulk.changes:
            change = self.change(kind)
            if change is not None and (fields_of(change.path) or list(fields_in(change.params))):
                raise ValueError(
                    f"`{kind}` is sent in bulk, so its path and params name no column: remove the braces, "
                    "or take it out of `bulk.changes`"
                )

    def change(self, kind: ChangeKind) -> Change | None:
        """How one kind of change is sent; None when it is not."""
        return {"create": self.create, "update": self.update, "delete": self.delete}[kind]

    def in_bulk(self, kind: ChangeKind) -> bool:
        """Whether a kind of change is sent several rows at once."""
        return self.bulk is not None and kind in self.bulk.changes
