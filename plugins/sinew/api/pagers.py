"""How pages follow one another, without any I/O: what to ask next, given what came.

Styles whose pages are found by counting are in ``counted``: they need a second look at pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

from sinew.api.addresses import origin, resolve, shown
from sinew.api.documents import Document, fingerprint
from sinew.api.filling import UnfitError, as_text
from sinew.api.jsonpaths import MISSING, query
from sinew.errors import ConfigurationError, PaginationError
from sinew.spec.pagination import Cursor, Keyset, LinkHeader, NextUrl, OnePage, Sized

_VALUE = r"""(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))"""
_LINK_PARAMETER = re.compile(rf"""\s*;\s*([^\s=;,"]+)(?:\s*=\s*{_VALUE})?""")
_LINK = re.compile(rf"<([^<>]*)>((?:{_LINK_PARAMETER.pattern})*)")
# 0-24/3573, or items 0-24/3573: the last place that came, and how many there are (RFC 9110, section 14.4).
_CONTENT_RANGE = re.compile(r"\b\d{1,18}-(\d{1,18})/(\d{1,18})$")
State = Mapping[str, Any]
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Ask:
    """What a page's request has of its own: parameters, or a whole address."""

    params: Mapping[str, str | int] = field(default_factory=dict)
    url: str | None = None


@dataclass(frozen=True)
class Came:
    """What a page's answer held, its records as values, where it came from, when it was asked for.

    ``public`` takes out of an address what proves who we are, so that it can be kept.
    """

    document: Document
    values: Sequence[Any]
    url: str
    headers: Mapping[str, str]
    shown: str
    sent_at: datetime
    public: Callable[[str], str] = str

    @property
    def root(self) -> Any:
        """The root of its JSON."""
        return self.document.root


class Pager(Protocol):
    """Knows what comes after a page; remembers where it has been."""

    def first(self, state: State | None) -> Ask:
        """What to ask first: the beginning, or what a state that ``after`` gave says."""
        ...

    def fresh(self, came: Came) -> Sequence[Any]:
        """Those of a page's records that have not come yet."""
        ...

    def after(self, came: Came) -> tuple[Ask, State] | None:
        """What to ask next, and the state that asks the same at another time; None at the end."""
        ...


class _Pager:
    def __init__(self) -> None:
        self._been: set[bytes] = set()

    def fresh(self, came: Came) -> Sequence[Any]:
        return came.values

    def _go(self, place: str, what: str) -> None:
        """Note a place that is gone to; raises PaginationError for one that was gone to before."""
        digest = blake2b(place.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._been:
            raise PaginationError(
                f"{what} for the second time: its pages go in a circle; ask who runs the server, or "
                "correct `pagination` in the mapping"
            )
        self._been.add(digest)


class OnePager(_Pager):
    """Everything in one answer."""

    def first(self, state: State | None) -> Ask:
        return Ask()

    def after(self, came: Came) -> None:
        # What is cut to a first page looks like success.
        if _link(came, "next") is not None:
            raise ConfigurationError(
                f"{came.shown} has a next page (Link header), but `pagination` is not declared: write "
                "{style: link_header}, or what the API's documentation says"
            )
        part = _CONTENT_RANGE.search(came.headers.get("Content-Range", ""))
        if part is not None and int(part[1]) + 1 < int(part[2]):
            raise ConfigurationError(
                f"{came.shown} brings {int(part[1]) + 1:,} of {int(part[2]):,} (Content-Range), but `pagination` "
                "is not declared: write what the API's documentation says, such as {style: offset}"
            )
        return None


class _AddressPager(_Pager):
    def first(self, state: State | None) -> Ask:
        if state is None:
            return Ask()
        self._go(state["url"], "the page")
        return Ask(url=state["url"])

    def _follow(self, came: Came, reference: str, what: str) -> tuple[Ask, State]:
        try:
            url = came.public(resolve(came.url, reference))
        except ValueError:
            raise PaginationError(
                f"{what} of {came.shown} is no address: correct `pagination` in the mapping"
            ) from None
        if origin(url) != origin(came.url):
            raise PaginationError(
                f"{what} of {came.shown} leads to another server, {origin(url)}; allowed: "
                f"{origin(came.url)}: what is meant for one server is not sent to another; correct "
                "the address in the connection if it is the same one under another name"
            )
        if not self._been:
            self._go(came.url, "the first page")
        self._go(url, f"{came.shown} names {shown(url)} as the next page")
        return Ask(url=url), {"url": url}


class LinkPager(_AddressPager):
    """The Link header (RFC 8288)."""

    def __init__(self, style: LinkHeader) -> None:
        super().__init__()
        self._style = style

    def after(self, came: Came) -> tuple[Ask, State] | None:
        reference = _link(came, self._style.rel)
        return None if reference is None else self._follow(came, reference, "the Link header")


def _link(came: Came, rel: str) -> str | None:
    """The target of the first link with a relation (RFC 8288, section 3), which may have several."""
    for link in _LINK.finditer(came.headers.get("Link", "")):
        for name, quoted, bare in _LINK_PARAMETER.findall(link[2]):
            # Names and relations in any case; only the first `rel` of a link counts.
            if name.lower() == "rel":
                if rel.lower() in (quoted or bare.strip("'")).lower().split():
                    return link[1]
                break
    return None


class UrlPager(_AddressPager):
    """An address in the body."""

    def __init__(self, style: NextUrl) -> None:
        super().__init__()
        self._next = query(style.next)

    def after(self, came: Came) -> tuple[Ask, State] | None:
        found = self._next.first(came.root)
        if _nothing(found):
            return None
        if not isinstance(found, str):
            raise PaginationError(
                f"{self._next.text} in {came.shown} is no text: correct `pagination.next`"
            )
        return self._follow(came, found, self._next.text)


def _nothing(found: Any) -> bool:
    """Whether what stands in the place of a next page says that there is none; 0 may be a cursor."""
    return found is MISSING or found is None or found is False or found == ""


def more(style: Sized, came: Came) -> bool | None:
    """Whether the answer says that there is another page; None when it does not say."""
    if style.has_more is None:
        return None
    found = query(style.has_more).first(came.root)
    if found is MISSING:
        # Nothing there is no word for the end: the path may be wrong, and what is left would be lost.
        return None
    if found is None:
        return False
    if not isinstance(found, bool):
        raise PaginationError(
            f"{style.has_more} in {came.shown} is neither true nor false: correct "
            "`pagination.has_more`"
        )
    return found


def size_params(style: Sized) -> dict[str, str | int]:
    """The parameter that asks for so many records."""
    if style.size is None or style.size_parameter is None:
        return {}
    return {style.size_parameter: style.size}


class CursorPager(_Pager):
    """An opaque token in the body."""

    def __init__(self, style: Cursor) -> None:
        super().__init__()
        self._style = style
        self._next = query(style.next)

    def first(self, state: State | None) -> Ask:
        if state is None:
            return Ask(size_params(self._style))
        self._go(state["cursor"], "the cursor")
        return self._ask(state["cursor"])

    def _ask(self, cursor: str) -> Ask:
        return Ask({**size_params(self._style), self._style.parameter: cursor})

    def after(self, came: Came) -> tuple[Ask, State] | None:
        found, says_more = self._next.first(came.root), more(self._style, came)
        if says_more is False:
            return None
        if _nothing(found):
            if says_more:
                raise PaginationError(
                    f"{came.shown} says that there is more, but {self._next.text} holds no cursor: "
                    "correct `pagination.next`"
                )
            return None
        try:
            cursor = as_text(found, self._next.text)
        except UnfitError as error:
            raise PaginationError(f"{came.shown}: {error}: correct `pagination.next`") from None
        self._go(cursor, f"{came.shown} gives the cursor {_cut(cursor)}")
        return self._ask(cursor), {"cursor": cursor}


class KeysetPager(_Pager):
    """The last record's values."""

    def __init__(self, style: Keyset) -> None:
        super().__init__()
        self._style = style
        self._edge: frozenset[bytes] = frozenset()
        # How many records a page holds that is not the last; a server may send fewer than asked.
        self._full = 0
        self._length = 0
        self._asked: Mapping[str, str] = {}

    def first(self, state: State | None) -> Ask:
        if state is None:
            return Ask(size_params(self._style))
        self._edge = frozenset(bytes.fromhex(seen) for seen in state.get("edge", ()))
        return self._ask(state["after"])

    def _ask(self, after: Mapping[str, str]) -> Ask:
        self._asked = after
        return Ask({**size_params(self._style), **after})

    def fresh(self, came: Came) -> Sequence[Any]:
        if not self._style.inclusive:
            return came.values
        return [value for value in came.values if fingerprint(value) not in self._edge]

    def after(self, came: Came) -> tuple[Ask, State] | None:
        style, says_more = self._style, more(self._style, came)
        if says_more is False or not came.values:
            if says_more:
                raise PaginationError(
                    f"{came.shown} is empty and says that there is more: no record says where the "
                    "next page begins; use another style"
                )
            return None
        after = {name: self._value(came, path) for name, path in style.parameters.items()}
        if says_more is None and self._is_last(came, after):
            return None
        self._go(
            repr(sorted(after.items())), f"{came.shown} ends at {_cut(str(after))}{self._hint()}"
        )
        state: dict[str, Any] = {"after": after}
        if style.inclusive:
            self._edge = self._on_edge(came, after)
            state["edge"] = sorted(seen.hex() for seen in self._edge)
        return self._ask(after), state

    def _is_last(self, came: Came, after: Mapping[str, str]) -> bool:
        style, length = self._style, len(came.values)
        if style.end == "short" and style.size is not None and length < style.size:
            return True
        if style.inclusive and after == self._asked:
            # It begins and ends with the same values: it is the last, unless it is full.
            return length < (self._full or style.size or 0)
        self._full = max(self._full, self._length)
        self._length = length
        return False

    def _hint(self) -> str:
        if not self._style.inclusive:
            return ""
        return " (more records share these values than fit into a page: raise `size`)"

    def _value(self, came: Came, path: str) -> str:
        return self._value_of(came.values[-1], path, came)

    def _value_of(self, record: Any, path: str, came: Came) -> str:
        found = query(path).first(record)
        try:
            return as_text(None if found is MISSING else found, path)
        except UnfitError as error:
            raise PaginationError(
                f"the last record of {came.shown}: {error}: correct `pagination.parameters`"
            ) from None

    def _on_edge(self, came: Came, after: Mapping[str, str]) -> frozenset[bytes]:
        """Digests of the records that the next page begins with: those with the last one's values."""
        paths = self._style.parameters.items()
        return frozenset(
            fingerprint(value)
            for value in came.values
            if all(self._value_of(value, path, came) == after[name] for name, path in paths)
        )


def _cut(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…")


def pager_of(style: OnePage | LinkHeader | NextUrl | Cursor | Keyset) -> Pager:
    """The pager of a style."""
    if isinstance(style, LinkHeader):
        return LinkPager(style)
    if isinstance(style, NextUrl):
        return UrlPager(style)
    if isinstance(style, Cursor):
        return CursorPager(style)
    if isinstance(style, Keyset):
        return KeysetPager(style)
    return OnePager()
