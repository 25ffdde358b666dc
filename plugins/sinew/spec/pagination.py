"""The ways in which an API hands out a collection page by page, one class each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator

from sinew.spec.columns import Model
from sinew.spec.exchange import Count, Flag, JsonPath
from sinew.spec.steps import Text

End = Literal["empty", "short"]


class Paged(Model):
    """What all styles share: bounds that end a reading that would never end."""

    page_limit: Count = Field(
        default=100_000,
        description="Pages after which the reading stops with an error: a server whose pages "
        "never end must not keep a task for ever.",
        examples=[1000],
    )
    empty_pages: Annotated[StrictInt, Field(ge=0)] = Field(
        default=20,
        description="Empty pages in a row that may still say that there is more.",
        examples=[20],
    )


class Sized(Paged):
    """Styles whose requests carry parameters of the page."""

    send_in: Literal["query", "body"] = Field(
        default="query",
        description="Where the parameters of the page are written: in the query, or in the body "
        "(a dot in a name leads into a member: `page.cursor`).",
        examples=["query"],
    )
    size: Count | None = Field(
        default=None, description="Records asked for in one page.", examples=[500]
    )
    size_parameter: Text | None = Field(
        default=None, description="Parameter that carries `size`.", examples=["limit"]
    )
    has_more: JsonPath | None = Field(
        default=None,
        description="Where the answer says whether there is another page (true or false). Where it does not "
        "say so, the style's other signs tell.",
        examples=["$.has_more"],
    )

    @model_validator(mode="after")
    def _size_has_a_parameter(self) -> Sized:
        if self.size_parameter is not None and self.size is None:
            raise ValueError("`size_parameter` is given without `size`: say how many records")
        return self


class OnePage(Paged):
    """Everything comes in one answer."""

    style: Literal["none"] = Field(
        default="none", description="Everything comes in one answer.", examples=["none"]
    )


class LinkHeader(Paged):
    """The next page's address stands in the Link header (RFC 8288)."""

    style: Literal["link_header"] = Field(
        description="The Link header names the next page.", examples=["link_header"]
    )
    rel: Text = Field(default="next", description="Relation of the link.", examples=["next"])


class NextUrl(Paged):
    """The next page's address stands in the answer's body."""

    style: Literal["next_url"] = Field(
        description="The body names the next page's address.", examples=["next_url"]
    )
    next: JsonPath = Field(
        description="Where: an absolute or relative address; null, empty or missing ends it.",
        examples=["$.links.next"],
    )


class Cursor(Sized):
    """Each answer holds an opaque token that asks for the page after it."""

    style: Literal["cursor"] = Field(
        description="The body holds a token for the next page.", examples=["cursor"]
    )
    next: JsonPath = Field(
        description="Where the token stands; null, empty or missing ends it.",
        examples=["$.meta.next_cursor"],
    )
    parameter: Text = Field(description="Parameter that carries the token.", examples=["cursor"])


class Counted(Sized):
    """Styles that count pages or records, so that a change of the collection shifts what follows.

    Each boundary between two pages is checked, and where it moved, the pages from the change on are
    read again.
    """

    end: End = Field(
        default="empty",
        description="What ends the reading when the answer says neither a total nor whether there "
        "is more: `empty`, a page without records; `short`, one with fewer than `size` (only for a "
        "server that never sends fewer than asked but at the end).",
        examples=["empty"],
    )
    total: JsonPath | None = Field(
        default=None,
        description="Where the answer says how many records there are.",
        examples=["$.total"],
    )
    rereads: Count = Field(
        default=10,
        description="How often in a row pages are read again because the collection changed; "
        "then the task ends and may be tried again.",
        examples=[10],
    )

    @model_validator(mode="after")
    def _short_needs_a_size(self) -> Counted:
        if self.end == "short" and self.size is None:
            raise ValueError("`end: short` needs `size`: say how many records a full page has")
        return self


class PageNumber(Counted):
    """Pages are asked for by their number."""

    style: Literal["page_number"] = Field(
        description="Pages are numbered.", examples=["page_number"]
    )
    parameter: Text = Field(
        default="page", description="Parameter that carries the number.", examples=["page"]
    )
    first: StrictInt = Field(default=1, description="Number of the first page.", examples=[1])
    total_pages: JsonPath | None = Field(
        default=None,
        description="Where the answer says how many pages there are.",
        examples=["$.total_pages"],
    )
    check: Literal["every_page", "on_change", "none"] = Field(
        default="every_page",
        description="How a change between two pages is noticed. `every_page` reads each page a "
        "second time once the page after it has come, twice the requests, and notices every "
        "change that moves a record over the boundary. `on_change` does so only when the total "
        "changed or a record came twice, and misses a record that was added while another was "
        "deleted. `none` is for a collection that holds still.",
        examples=["every_page"],
    )


class Offset(Counted):
    """Pages are asked for by the number of records before them."""

    style: Literal["offset"] = Field(
        description="Pages begin after so many records.", examples=["offset"]
    )
    parameter: Text = Field(
        default="offset", description="Parameter that carries the offset.", examples=["offset"]
    )
    advance: Literal["received", "size"] = Field(
        default="received",
        description="How far the offset moves: by the records that came, or by `size` (for a "
        "server that counts records which it then leaves out, and that takes `size` as it is).",
        examples=["received"],
    )
    check: Literal["overlap", "every_page", "none"] = Field(
        default="overlap",
        description="How a change between two pages is noticed. `overlap` asks for the last record "
        "of the page before once more, at the head of the next page. `every_page` reads each page "
        "a second time once the page after it has come. `none` is for a collection that holds "
        "still.",
        examples=["overlap"],
    )

    @model_validator(mode="after")
    def _check_fits(self) -> Offset:
        if self.advance == "size" and (self.size is None or self.check == "overlap"):
            raise ValueError(
                "`advance: size` needs `size`, and pages that are counted so do not overlap: write "
                "`check: every_page` (or none)"
            )
        if self.check == "overlap" and self.size == 1:
            raise ValueError("an overlap of one record needs pages of two: raise `size`")
        return self


class Keyset(Sized):
    """The next page begins after the last record's values."""

    style: Literal["keyset"] = Field(
        description="Pages begin after the last record's values.", examples=["keyset"]
    )
    parameters: Annotated[dict[str, JsonPath], Field(min_length=1)] = Field(
        description="Parameter to where its value stands in the last record of the page before.",
        examples=[{"after_id": "$.id"}],
    )
    inclusive: Flag = Field(
        default=False,
        description="The page begins with the records that have these very values; those that "
        "came already are left out.",
        examples=[False],
    )
    end: End = Field(
        default="empty",
        description="What ends the reading when `has_more` is not declared: `empty`, a page "
        "without (new) records; `short`, one with fewer than `size` (only for a server that never "
        "sends fewer than asked but at the end).",
        examples=["empty"],
    )

    @model_validator(mode="after")
    def _needs_a_size(self) -> Keyset:
        if self.size is None and (self.inclusive or self.end == "short"):
            raise ValueError(
                "`inclusive` and `end: short` need `size`: say how many records a full page has"
            )
        return self


Pagination = Annotated[
    OnePage | LinkHeader | NextUrl | Cursor | PageNumber | Offset | Keyset,
    Field(discriminator="style"),
]
