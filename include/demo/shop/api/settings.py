"""What can be set about the servers' behaviour: shares of faults, rate limits, lies of the pages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Ordinal = Annotated[int, Field(ge=1)]

# Faults that come instead of the work, and faults that spoil the answer once the work is done.
BEFORE = ("server_error", "bad_gateway", "unavailable", "html_error", "html_page", "drop_before")
AFTER = ("error_after", "drop_after", "half_body", "wrong_json")
KINDS = (*BEFORE, *AFTER, "slow")


class Settings(BaseModel):
    """A group of settings, replaced as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Faults(Settings):
    """The share (0 to 1) of requests that each fault strikes; together they are at most 1.

    Which requests is decided by ``seed``, the request's method, address, body and idempotency key, and
    how often it came: the order in which threads happen to send does not matter.
    """

    server_error: Share = Field(0, description="answers 500 and does nothing")
    bad_gateway: Share = Field(0, description="answers 502 and does nothing")
    unavailable: Share = Field(0, description="answers 503 with Retry-After and does nothing")
    html_error: Share = Field(0, description="answers 502 with a proxy's HTML page")
    html_page: Share = Field(0, description="answers 200 with HTML, as a login page would")
    drop_before: Share = Field(0, description="drops the connection and does nothing")
    error_after: Share = Field(0, description="does the work and answers 500")
    drop_after: Share = Field(0, description="does the work and drops the connection")
    half_body: Share = Field(0, description="does the work, sends half of the body, then drops")
    wrong_json: Share = Field(0, description="does the work; the body is whole but no JSON")
    slow: Share = Field(0, description="answers slowly, whatever else happens")
    slow_seconds: float = Field(0.5, ge=0, description="how long a slow answer takes")
    seed: int = Field(1, description="the same seed strikes the same requests")
    in_a_row: int | None = Field(
        None, ge=1, description="so many failures of one request are followed by an answer"
    )
    path: str = Field("/", description="strikes only below this path, such as /contacts")

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Self:
        total = sum(getattr(self, kind) for kind in (*BEFORE, *AFTER))
        if total > 1:
            raise ValueError(f"the shares add up to {total}; together they are at most 1")
        return self


class Limit(Settings):
    """A token bucket for each client; no limit without ``per_second``."""

    per_second: float | None = Field(None, gt=0, description="requests a second")
    burst: int | None = Field(None, ge=1, description="size of the bucket; default: one second's")
    status: Literal[429, 503] = 429
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    headers: frozenset[Literal["x", "ietf", "ietf-07"]] = Field(
        frozenset({"x", "ietf"}),
        description="X-RateLimit-*; RateLimit and RateLimit-Policy; the older RateLimit-Limit etc.",
    )

    @property
    def size(self) -> float:
        """How many requests the bucket holds."""
        return float(self.burst or max(1.0, self.per_second or 1.0))


class Pages(Settings):
    """How lists mislead their readers. Pages are counted from 1."""

    max_size: int = Field(1_000, ge=1, description="larger pages are cut to this, without a word")
    surplus: int = Field(
        0, description="so many records more (or fewer) a page than asked; not with page numbers"
    )
    empty: frozenset[Ordinal] = Field(
        frozenset(), description="these pages are empty and say that there is more"
    )
    lie: Literal["same", "loop", "other_host", "endless", "restart"] | None = Field(
        None,
        description="what `next` says: this very page; the first page; another host; ever more empty"
        " pages after the last; ever more full ones. Page and offset styles clamp to the last page.",
    )
    lie_from: Ordinal = Field(1, description="the first page that lies")
    other_origin: str = Field("http://other.example", description="where other_host leads to")


class Churn(Settings):
    """Orders that change between the pages of a list: after every n-th page, up to ``times`` times."""

    kind: Literal["insert", "delete", "update", "mixed"] = "mixed"
    every: int | None = Field(None, ge=1, description="pages between changes; nothing without it")
    rows: int = Field(1, ge=1, description="orders changed each time")
    times: int | None = Field(None, ge=1, description="then it is quiet")
    seed: int = 1


class Writing(Settings):
    """How the marketing API takes writes."""

    bulk_size: int = Field(100, ge=1, description="most records of a bulk request; more: 413")
    bulk_status: Literal[200, 207] = Field(207, description="answer when some records were refused")
    bulk_shuffled: bool = Field(False, description="results come in another order than records")
    key_required: bool = Field(False, description="400 without an Idempotency-Key")
