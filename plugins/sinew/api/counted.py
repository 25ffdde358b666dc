"""Pages that are found by counting (page numbers, offsets), and what is done when the count shifts.

Where a record is added or deleted before the place that is being read, everything behind it moves, and
the next page skips a record or repeats one. What can be noticed of that:

- ``overlap`` (offset): each page begins with the last record of the page before. Is it still there, then
  every record that was present throughout has come, once, if the collection's order does not change; any
  shift is noticed, whatever else was added or deleted.
- ``every_page``: each page is read again once the page after it has come, and must hold the same keys (and
  the answer the same total, where it tells one). Notices what ``overlap`` notices, unless an addition and a
  deletion make up for each other exactly between these two requests.
- ``on_change`` (page numbers): the same, but only when the total changed or a record came twice; so an
  addition that hides a deletion is missed.
- What cannot be noticed by any: a record that moves to another place (a list sorted by the time of the last
  change) while another move puts the count right again. Sort by something that does not change.

When a shift is noticed, pages are read again from the last one that is as it was: they come with the numbers
that they had, and **a page replaces those of its number and higher that came before**. After so many times
without getting any further, CollectionChangedError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sinew.api.documents import fingerprint
from sinew.api.jsonpaths import MISSING, query
from sinew.api.pagers import Ask, Came, State, more, size_params
from sinew.errors import CollectionChangedError, PaginationError
from sinew.spec.pagination import Offset, PageNumber


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of a page that came: its place, how many records up to its end, and their keys' digest."""

    number: int
    place: int
    overlap: bool
    end: int
    digest: bytes
    last: bytes


@dataclass(frozen=True)
class CountedPage:
    """A page that came: the new ones among its records, and the state to go on from, None at the end."""

    number: int
    came: Came
    values: Sequence[Any]
    state: State | None


class CountedReader:
    """Reads a collection by page numbers or offsets; ``fetch`` gets one page."""

    def __init__(
        self,
        style: PageNumber | Offset,
        keys: Sequence[str],
        fetch: Callable[[Ask], Came],
        name: str,
    ) -> None:
        self._style, self._fetch, self._name = style, fetch, name
        self._keys = [query(path) for path in keys]
        self._known: list[Known] = []
        self._furthest = self._rereads = self._same = 0
        self._total: int | None = None
        self._empty = 0
        self._page_before: frozenset[bytes] = frozenset()
        self._overlaps = isinstance(style, Offset) and style.check == "overlap"

    def read(self, state: State | None) -> Iterator[CountedPage]:
        """The pages, in order; one whose number came before replaces that one and all after it."""
        if state is not None:
            self._known.append(_from_state(state))
        while True:
            before = self._known[-1] if self._known else None
            came = self._fetch(self._ask(self._next_place(before)))
            if before is not None and self._moved(before, came):
                self._step_back(before, came)
                continue
            page, finished = self._take(before, came)
            yield page
            if finished:
                return

    def _take(self, before: Known | None, came: Came) -> tuple[CountedPage, bool]:
        overlap = self._overlaps and before is not None and before.end > 0
        values = came.values[1:] if overlap else came.values
        keys = [self._key(value) for value in values]
        known = Known(
            number=before.number + 1 if before else 1,
            place=self._next_place(before),
            overlap=overlap,
            end=(before.end if before else 0) + len(values),
            digest=_digest(keys),
            last=keys[-1] if keys else (before.last if before else b""),
        )
        self._page_before = frozenset(keys)
        self._total = self._total_of(came)
        self._empty = 0 if values else self._empty + 1
        if known.number > self._furthest:
            self._furthest, self._rereads = known.number, 0
        finished = self._finished(known, came, len(values))
        self._known.append(known)
        state = None if finished else _state(known)
        return CountedPage(known.number, came, values, state), finished

    # Places.

    def _next_place(self, before: Known | None) -> int:
        """The page number or offset of the page after a known one."""
        style = self._style
        if isinstance(style, PageNumber):
            return style.first if before is None else before.place + 1
        if before is None:
            return 0
        if style.advance == "size":
            return before.place + (style.size or 0)
        return before.end - 1 if self._overlaps and before.end > 0 else before.end

    def _ask(self, place: int) -> Ask:
        return Ask({**size_params(self._style), self._style.parameter: place})

    # The end.

    def _finished(self, known: Known, came: Came, fresh: int) -> bool:
        """Whether a page is the last, by the best evidence that there is."""
        says_more = self._says_more(known, came)
        if says_more is not None:
            if says_more and self._empty > self._style.empty_pages:
                raise PaginationError(
                    f"{came.shown} is the {self._empty}th empty page in a row and still says that there "
                    f"is more ({known.end:,} records came): correct `pagination`, or raise empty_pages"
                )
            return not says_more
        if self._style.end == "short" and self._style.size is not None:
            return len(came.values) < self._style.size
        return fresh == 0

    def _says_more(self, known: Known, came: Came) -> bool | None:
        says_more = more(self._style, came)
        if says_more is not None:
            return says_more
        if isinstance(self._style, PageNumber) and self._style.total_pages is not None:
            pages = _whole(came, self._style.total_pages, "pagination.total_pages")
            return known.place - self._style.first + 1 < pages
        if self._total is not None:
            return known.end < self._total
        return None

    def _total_of(self, came: Came) -> int | None:
        if self._style.total is None:
            return None
        return _whole(came, self._style.total, "pagination.total")

    # Changes between two pages.

    def _moved(self, before: Known, came: Came) -> bool:
        """Whether the boundary between a known page and the one after it is not where it was."""
        check = self._style.check
        if check == "none":
            self._refuse_the_same(before, came)
            return False
        if check == "overlap":
            if not before.end:
                return False
            return not came.values or self._key(came.values[0]) != before.last
        if self._repeats(came):
            return True
        if check == "on_change" and self._total_of(came) == self._total:
            return False
        return not self._unchanged(before, came)

    def _repeats(self, came: Came) -> bool:
        return any(self._key(value) in self._page_before for value in came.values)

    def _unchanged(self, known: Known, beside: Came | None = None) -> bool:
        """Whether a page is as it was; and its total, that of the page ``beside`` it."""
        came = self._fetch(self._ask(known.place))
        values = came.values[1:] if known.overlap else came.values
        if beside is not None and self._total_of(came) != self._total_of(beside):
            return False
        keys = [self._key(value) for value in values]
        if _digest(keys) != known.digest:
            return False
        self._page_before = frozenset(keys)
        return True

    def _step_back(self, before: Known, came: Came) -> None:
        """Forget the known pages after the last one that is as it was."""
        self._rereads += 1
        self._refuse_the_same(before, came, patience=2)
        if self._rereads > self._style.rereads:
            raise CollectionChangedError(
                f"{self._name} kept changing while page {before.number + 1} was read: {self._rereads} times "
                f"in a row its pages moved ({self._style.parameter} may also be ignored by the server); it "
                "is tried again; if it stays, read it by cursor or keyset, or when less is written"
            )
        back, step = len(self._known) - 1, 1
        while back >= 0 and not self._unchanged(self._known[back]):
            back, step = back - step, step * 2
        first_known = self._known[0]
        del self._known[max(0, back + 1) :]
        if not self._known and first_known.number > 1:
            raise CollectionChangedError(
                f"{self._name} changed before the page at which this reading began again: it is read "
                "from its start"
            )

    def _refuse_the_same(self, before: Known, came: Came, patience: int = 0) -> None:
        """A page that again and again holds the records of the one before it: the place is ignored."""
        keys = [self._key(value) for value in came.values]
        if not keys or self._overlaps or _digest(keys) != before.digest:
            self._same = 0
            return
        self._same += 1
        if self._same > patience:
            raise PaginationError(
                f"page {before.number + 1} of {self._name} is the same as the one before it: the server "
                f"ignores {self._style.parameter!r}, or repeats its last page; correct `pagination` in the "
                "mapping: the parameter's name, or what ends the reading (`total`, `end: short`)"
            )

    def _key(self, value: Any) -> bytes:
        found = [path.first(value) for path in self._keys]
        if not found or any(part is MISSING for part in found):
            return fingerprint(value)
        return fingerprint(found)


def _state(known: Known) -> State:
    return {
        "number": known.number,
        "place": known.place,
        "overlap": known.overlap,
        "end": known.end,
        "digest": known.digest.hex(),
        "last": known.last.hex(),
    }


def _from_state(state: State) -> Known:
    binary = {name: bytes.fromhex(state[name]) for name in ("digest", "last")}
    return Known(**{**state, **binary})


def _digest(keys: Sequence[bytes]) -> bytes:
    return blake2b(b"".join(keys), digest_size=16).digest()


def _whole(came: Came, path: str, where: str) -> int:
    found = query(path).first(came.root)
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        raise PaginationError(f"{path} in {came.shown} is no whole number: correct `{where}`")
    return found
