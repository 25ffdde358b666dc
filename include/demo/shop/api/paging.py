"""Every way in which APIs hand out long lists, over one kind of collection.

=================== ============================== ===============================================
style               asks by                        says what follows by
=================== ============================== ===============================================
link                limit, cursor                  Link header, absolute (RFC 8288); a bare array
link_relative       limit, cursor                  the same with relative references
next_url            limit, cursor                  ``next``: an absolute URL or null
next_url_relative   limit, cursor                  the same, a path
cursor              limit, cursor                  ``meta.next_cursor`` or null, ``meta.has_more``
page                page, per_page                 ``total``, ``total_pages``
page_no_total       page, per_page                 nothing: the last page is the short or empty one
offset              offset, limit                  ``total``
keyset              after_id, limit                nothing: the last page is the short or empty one
keyset_updated      after_updated_at and after_id  ``has_more``
=================== ============================== ===============================================

All but a Link style answer ``{"data": [...], ...}``. ``sort`` and the filters go with each style, save
that the two keysets fix their order.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import Response

from demo.shop.api.answers import ApiProblem, answer, enveloped
from demo.shop.api.collection import Collection, Row, Sort
from demo.shop.api.settings import Pages
from demo.shop.api.timestamps import canonical

DEFAULT_SIZE = 100
_PAGING = ("style", "limit", "per_page", "page", "offset", "cursor", "after_id", "after_updated_at")
# An API key in the query is for the gate.
_ALWAYS = {*_PAGING, "api_key"}


@dataclass(frozen=True)
class Cursor:
    """Where a page starts: after which position, and the how manieth page it is."""

    page: int = 1
    position: tuple[Any, ...] | None = None
    asked: str = ""  # the filters and the order that it was made for

    def text(self) -> str:
        """What a client sees: opaque, and safe in a URL."""
        packed = json.dumps([self.page, self.position, self.asked]).encode()
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, asked: str) -> Cursor:
        """The cursor of a request; one made up or made for other filters is refused."""
        try:
            padded = text + "=" * (-len(text) % 4)
            page, position, made_for = json.loads(base64.urlsafe_b64decode(padded))
            found = cls(int(page), position and tuple(position), made_for)
        except (ValueError, TypeError):
            raise ApiProblem(400, "bad_cursor", "the cursor is none of this server's") from None
        if made_for != asked:
            raise ApiProblem(
                400, "bad_cursor", "the cursor belongs to other filters or another order"
            )
        return found


@dataclass(frozen=True)
class Listing:
    """One request for a page of a list."""

    collection: Collection
    pages: Pages
    asked: Mapping[str, str]
    origin: str  # scheme and host as the client named them
    path: str

    @classmethod
    def read(
        cls, collection: Collection, pages: Pages, asked: Mapping[str, str], origin: str, path: str
    ) -> Listing:
        """Check the names of the parameters: a misspelt filter must not select everything."""
        allowed = _ALWAYS | collection.names
        unknown = sorted(set(asked) - allowed)
        if unknown:
            raise ApiProblem(400, "unknown_parameter", f"{unknown}; allowed: {sorted(allowed)}")
        return cls(collection, pages, asked, origin, path)

    def response(self) -> Response:
        """The page that was asked for."""
        style = self.asked.get("style", "cursor")
        if style not in STYLES:
            raise ApiProblem(400, "bad_style", f"style={style!r}; allowed: {list(STYLES)}")
        return STYLES[style](self)

    def whole(self, name: str, default: int, least: int = 0) -> int:
        """A whole number among the parameters."""
        text = self.asked.get(name, str(default))
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise ApiProblem(400, "bad_parameter", f"{name}={text!r} is no number from {least} on")
        return int(text)

    @property
    def size(self) -> int:
        """Records a page; too large a wish is cut, as most APIs do."""
        name = "per_page" if "per_page" in self.asked else "limit"
        return min(self.whole(name, DEFAULT_SIZE, least=1), self.pages.max_size)

    @property
    def fingerprint(self) -> str:
        """Filters and order, to which a cursor belongs."""
        return urlencode(sorted((k, v) for k, v in self.asked.items() if k not in _PAGING))

    def lies(self, page: int) -> str | None:
        """The lie that this page tells, if it tells one."""
        return self.pages.lie if page >= self.pages.lie_from else None

    def url(self, cursor: Cursor, *, relative: bool = False, origin: str | None = None) -> str:
        """The address of the page at a cursor, with all other parameters as they were."""
        query = {**self.asked, "cursor": cursor.text()}
        return f"{'' if relative else origin or self.origin}{self.path}?{urlencode(query)}"


@dataclass(frozen=True)
class _Step:
    """A page read by cursor, and the cursor that it names as the next."""

    rows: list[Row]
    here: Cursor
    following: Cursor | None
    lie: str | None

    @property
    def bodies(self) -> list[bytes]:
        return [row.body for row in self.rows]


def _step(listing: Listing) -> _Step:
    text = listing.asked.get("cursor")
    start = Cursor(asked=listing.fingerprint)
    here = Cursor.read(text, listing.fingerprint) if text else start
    rows, more = _rows(listing, here)
    position = rows[-1].position if rows else here.position
    following = replace(here, page=here.page + 1, position=position)
    lie = listing.lies(here.page)
    if lie == "same":
        following, more = here, True
    elif lie == "loop":
        following, more = start, True
    elif not more and lie == "endless":
        more = True
    elif not more and lie == "restart":
        following, more = replace(following, position=None), True
    return _Step(rows, here, following if more else None, lie)


def _rows(listing: Listing, here: Cursor) -> tuple[list[Row], bool]:
    """The rows of a page, and whether there are more."""
    if here.page in listing.pages.empty:
        return [], True
    size = max(1, listing.size + listing.pages.surplus)
    rows = listing.collection.after(here.position, size + 1)
    return rows[:size], len(rows) > size


def _next_url(listing: Listing, step: _Step, *, relative: bool) -> str | None:
    if step.following is None:
        return None
    if step.lie == "other_host":
        return listing.url(step.following, origin=listing.pages.other_origin)
    return listing.url(step.following, relative=relative)


def _link(listing: Listing, relative: bool = False) -> Response:
    step = _step(listing)
    first = listing.url(Cursor(asked=listing.fingerprint), relative=relative)
    links = [f'<{first}>; rel="first"']
    following = _next_url(listing, step, relative=relative)
    if following:
        links.append(f'<{following}>; rel="next"')
    return answer(b"[" + b",".join(step.bodies) + b"]", headers={"Link": ", ".join(links)})


def _url(listing: Listing, relative: bool = False) -> Response:
    step = _step(listing)
    return answer(enveloped(step.bodies, {"next": _next_url(listing, step, relative=relative)}))


def _cursor(listing: Listing) -> Response:
    step = _step(listing)
    following = step.following.text() if step.following else None
    meta = {"next_cursor": following, "has_more": following is not None}
    return answer(enveloped(step.bodies, {"meta": meta}))


def _page(listing: Listing, totals: bool = True) -> Response:
    page, size = listing.whole("page", 1, least=1), listing.size
    total = listing.collection.total()
    last = max(1, -(-total // size))
    wanted = page
    if totals:
        # Pages that are left empty push the records to later pages, which the totals count in.
        gaps = sorted(listing.pages.empty)
        for gap in gaps:
            last += gap <= last
        wanted = 0 if page in gaps else page - sum(gap < page for gap in gaps)
    if listing.lies(page) in ("endless", "restart"):
        wanted = min(wanted, max(1, -(-total // size)))
    rows = listing.collection.slice((wanted - 1) * size, size) if wanted else []
    beside = {"page": page, "per_page": size}
    if totals:
        beside |= {"total": total, "total_pages": last}
    return answer(enveloped([row.body for row in rows], beside))


def _offset(listing: Listing) -> Response:
    offset, asked_size = listing.whole("offset", 0), listing.size
    size = max(1, asked_size + listing.pages.surplus)
    total = listing.collection.total()
    start = offset
    if listing.lies(offset // asked_size + 1) in ("endless", "restart"):
        start = min(offset, max(0, total - size))
    bodies = [row.body for row in listing.collection.slice(start, size)]
    return answer(enveloped(bodies, {"offset": offset, "limit": asked_size, "total": total}))


def _keyset(listing: Listing) -> Response:
    collection = replace(listing.collection, sort=Sort("id"))
    after = listing.whole("after_id", 0)
    size = max(1, listing.size + listing.pages.surplus)
    return answer(enveloped([row.body for row in collection.after((after,), size)], {}))


def _keyset_updated(listing: Listing) -> Response:
    collection = replace(listing.collection, sort=Sort("updated_at"))
    size = max(1, listing.size + listing.pages.surplus)
    rows = collection.after(_after_updated(listing), size + 1)
    return answer(enveloped([row.body for row in rows[:size]], {"has_more": len(rows) > size}))


def _after_updated(listing: Listing) -> tuple[str, int] | None:
    text = listing.asked.get("after_updated_at")
    if text is None:
        return None
    try:
        # Without an id, everything of that very moment counts as seen.
        return canonical(text), listing.whole("after_id", 2**63 - 1)
    except ValueError as error:
        raise ApiProblem(400, "bad_parameter", f"after_updated_at={text!r}: {error}") from None


STYLES: dict[str, Callable[[Listing], Response]] = {
    "link": _link,
    "link_relative": lambda listing: _link(listing, relative=True),
    "next_url": _url,
    "next_url_relative": lambda listing: _url(listing, relative=True),
    "cursor": _cursor,
    "page": _page,
    "page_no_total": lambda listing: _page(listing, totals=False),
    "offset": _offset,
    "keyset": _keyset,
    "keyset_updated": _keyset_updated,
}
