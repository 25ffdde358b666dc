"""Read a resource page by page, one page in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import requests

from sinew.api.counted import CountedReader
from sinew.api.documents import Record
from sinew.api.fetching import Fetcher
from sinew.api.filling import UnfitError, as_text
from sinew.api.jsonpaths import MISSING, query
from sinew.api.pace import Stop
from sinew.api.pagers import Ask, Came, pager_of
from sinew.api.transport import Policy, policy_of
from sinew.errors import ConfigurationError, PaginationError
from sinew.spec.pagination import Offset, PageNumber
from sinew.spec.resources import Bookmark, Resource


@dataclass(frozen=True)
class Page:
    """Records that came together.

    ``number`` counts from 1. **A page replaces those of its number and higher that came before it**
    (with the same ``parent_number``): the collection changed, and they are read again.
    ``cursor`` is what ``start`` takes to go on after this page; None says that it is the last.
    ``fetched_at`` (UTC) is when it was asked for, by the server's clock if that is behind: a change
    after it may be missing.
    ``parent`` holds what was taken from the parent's record, the parents counted from 1.
    """

    number: int
    records: list[Record]
    cursor: Mapping[str, Any] | None
    url: str
    fetched_at: datetime
    bookmark: str | None = None
    parent: Mapping[str, Any] | None = None
    parent_number: int = 0

    @property
    def is_last(self) -> bool:
        """Whether the reading (of this parent) is complete with this page."""
        return self.cursor is None


def read_pages(
    session: requests.Session,
    resource: Resource,
    parameters: Mapping[str, Any],
    *,
    start: Mapping[str, Any] | None = None,
    stop_requested: Stop | None = None,
) -> Iterator[Page]:
    """The pages of a resource, in order; the last one has no cursor.

    ``parameters`` fill the names in braces, and say what is asked for: window_from and window_to (aware
    datetimes), since, or bookmark. ``start`` is a page's cursor: the reading goes on after that page.
    For a resource with ``each``, the parents are read too, and their dependents side by side.

    Raises what ``send`` raises, PaginationError, CollectionChangedError, ConfigurationError; and
    InterruptedStepError once ``stop_requested`` says so: a reading that ends is complete.
    """
    if resource.each is None:
        policy = policy_of(session, resource, stop_requested)
        yield from pages_of(session, resource, parameters, policy, start)
        return
    if start is not None:
        raise ConfigurationError(
            "dependent records are read parent by parent: go on with the parents that are left "
            "(read_each), not with a cursor"
        )
    from sinew.api.dependents import read_each, read_parents

    parents = read_parents(session, resource.each, parameters, stop_requested)
    yield from read_each(session, resource, parents, parameters, stop_requested=stop_requested)


def pages_of(
    session: requests.Session,
    resource: Resource,
    values: Mapping[str, Any],
    policy: Policy,
    start: Mapping[str, Any] | None = None,
) -> Iterator[Page]:
    """The pages of a resource for one set of values, whatever its ``each``."""
    fetch = Fetcher(session, resource, values, policy)
    style = resource.pagination
    if isinstance(style, PageNumber | Offset):
        pages = _counted(CountedReader(style, resource.key, fetch, fetch.name), resource, start)
    else:
        pages = _chained(fetch, resource, start)
    for page in pages:
        if page.number > style.page_limit or (page.number == style.page_limit and not page.is_last):
            raise PaginationError(
                f"{fetch.name} has more than {style.page_limit:,} pages (pagination.page_limit): raise "
                "it, or ask the server why it never ends"
            )
        yield page


def _chained(fetch: Fetcher, resource: Resource, start: Mapping[str, Any] | None) -> Iterator[Page]:
    style = resource.pagination
    assert not isinstance(style, PageNumber | Offset)
    pager = pager_of(style)
    number = start["number"] if start else 0
    ask: Ask | None = pager.first(start["state"] if start else None)
    empty = 0
    while ask is not None:
        came = fetch(ask)
        number += 1
        fresh = pager.fresh(came)
        following = pager.after(came)
        empty = 0 if came.values else empty + 1
        if following is not None and empty > style.empty_pages:
            raise PaginationError(
                f"{came.shown} is the {empty}th empty page in a row and still says that there is more: "
                "ask who runs the server, or raise pagination.empty_pages"
            )
        ask, state = following if following is not None else (None, None)
        cursor = None if state is None else {"number": number, "state": dict(state)}
        yield _page(number, came, fresh, cursor, resource)


def _counted(
    reader: CountedReader, resource: Resource, start: Mapping[str, Any] | None
) -> Iterator[Page]:
    for page in reader.read(start["state"] if start else None):
        cursor = None
        if page.state is not None:
            cursor = {"number": page.number, "state": dict(page.state)}
        yield _page(page.number, page.came, page.values, cursor, resource)


def _page(
    number: int, came: Came, values: Any, cursor: Mapping[str, Any] | None, resource: Resource
) -> Page:
    records = [came.document.record(value) for value in values]
    bookmark = _bookmark(came, resource)
    return Page(number, records, cursor, came.shown, came.sent_at, bookmark)


def _bookmark(came: Came, resource: Resource) -> str | None:
    if not isinstance(resource.incremental, Bookmark):
        return None
    found = query(resource.incremental.at).first(came.root)
    if found is MISSING or found is None:
        return None
    try:
        return as_text(found, resource.incremental.at)
    except UnfitError as error:
        raise PaginationError(f"{came.shown}: {error}: correct `incremental.at`") from None


def with_parent(page: Page, number: int, parent: Mapping[str, Any]) -> Page:
    """The page as one of a parent's."""
    return replace(page, parent=parent, parent_number=number)
