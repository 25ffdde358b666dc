"""Find the rows on which two databases disagree, moving only keys of the ranges that differ."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import sql

from sinew.compile import compare
from sinew.compile.compare import Comparison, Difference, Key, Segment, Side
from sinew.engine.session import translated

# Ranges that one statement sums up: 16 times as many cut points, each a few dozen bytes of SQL.
_SEGMENTS_A_STATEMENT = 128
# Rows that one fetch may bring into memory. The first fetches are smaller: where everything
# differs, they find as much as is asked for.
_ROWS_A_FETCH = 100_000
_ROWS_OF_THE_FIRST_FETCH = 5_000
# A sample of this many keys a cut point puts it within a few per cent of where it belongs.
_SAMPLE_A_PART = 64
# Smaller sets of rows are sorted whole: sampling would save nothing and cut less evenly.
_SAMPLE_FROM = 200_000
# 16^12 rows are more than any table has; a range that deep cannot be cut (its keys are equal).
_MAX_DEPTH = 12

Row = tuple[Any, ...]
Found = dict[tuple[str | None, ...], tuple[Counter[int], Counter[int]]]


def compare_sides(
    a_conn: psycopg.Connection,
    a: Side,
    b_conn: psycopg.Connection,
    b: Side,
    *,
    threshold: int = 1000,
    fanout: int = 16,
    max_differences: int = 1000,
    doing: str = "reconcile",
) -> Comparison:
    """Compare two relations; ``a`` is what should be, ``b`` what is. Reads only.

    Each connection is read as it stands: for one picture the caller opens a REPEATABLE READ
    transaction. Ranges of at most ``threshold`` rows are fetched, larger ones cut into ``fanout``
    parts.
    """
    with translated(doing):
        search = _Search(
            a_conn, a.keyed(), b_conn, b.keyed(), threshold, fanout, max_differences, not a.key
        )
        return search.run()


@dataclass
class _Search:
    a_conn: psycopg.Connection
    a: Side
    b_conn: psycopg.Connection
    b: Side
    threshold: int
    fanout: int
    max_differences: int
    multiset: bool
    found: Found = field(default_factory=dict)
    rows_transferred: int = 0
    queries: int = 0
    cut_short: bool = False

    def run(self) -> Comparison:
        started = time.monotonic()
        (a, b) = self._ask_both(compare.totals)
        (count_a, sum_a, nulls_a), (count_b, sum_b, nulls_b) = a[0], b[0]
        if (count_a, sum_a) != (count_b, sum_b):
            if nulls_a or nulls_b:
                self._fetch_nulls()
            self._descend([Segment(None, None, count_a - nulls_a, count_b - nulls_b)])
        differences, complete = self._result()
        return Comparison(
            count_a,
            count_b,
            int(sum_a),
            int(sum_b),
            differences,
            self.rows_transferred,
            self.queries,
            complete,
            time.monotonic() - started,
        )

    def _result(self) -> tuple[tuple[Difference, ...], bool]:
        told = [d for key, (a, b) in self.found.items() for d in _told(key, a, b, self.multiset)]
        fits = len(told) <= self.max_differences
        return tuple(told[: self.max_differences]), fits and not self.cut_short

    def _descend(self, todo: list[Segment]) -> None:
        """Depth first, in the order of the keys, until all is compared or enough is found."""
        while todo:
            if self._enough():
                return
            chunk, todo = todo[:_SEGMENTS_A_STATEMENT], todo[_SEGMENTS_A_STATEMENT:]
            large = [segment for segment in chunk if not self._fetchable(segment)]
            self._fetch([segment for segment in chunk if self._fetchable(segment)])
            todo = self._split(large) + todo

    def _fetchable(self, segment: Segment) -> bool:
        one_sided = not segment.count_a or not segment.count_b
        return one_sided or segment.rows <= self.threshold or segment.depth >= _MAX_DEPTH

    # --- cutting

    def _split(self, segments: list[Segment]) -> list[Segment]:
        """The parts of the segments that differ, in the order of the keys."""
        if not segments:
            return []
        parts = [part for segment, cuts in self._cuts(segments) for part in _parts(segment, cuts)]
        a, b = self._ask_both(lambda side: compare.part_totals(side, parts))
        sums_a = {part: (count, total) for part, count, total in a}
        sums_b = {part: (count, total) for part, count, total in b}
        nothing = (0, 0)
        return [
            Segment(
                part.lower,
                part.upper,
                sums_a.get(i, nothing)[0],
                sums_b.get(i, nothing)[0],
                part.depth,
            )
            for i, part in enumerate(parts)
            if sums_a.get(i, nothing) != sums_b.get(i, nothing)
        ]

    def _cuts(self, segments: list[Segment]) -> Iterable[tuple[Segment, list[Key]]]:
        """Each segment with the keys that cut it, taken from the side with more rows."""
        in_a, in_b = sum(s.count_a for s in segments), sum(s.count_b for s in segments)
        conn, side = (self.a_conn, self.a) if in_a >= in_b else (self.b_conn, self.b)
        wanted = _SAMPLE_A_PART * self.fanout * len(segments)
        share = wanted / max(in_a, in_b) if max(in_a, in_b) > max(_SAMPLE_FROM, wanted) else 1.0
        cuts: list[list[Key]] = [[] for _ in segments]
        for part, *key in self._ask(conn, compare.quantiles(side, segments, self.fanout, share)):
            cuts[part].append(tuple(key))
        self.rows_transferred += sum(map(len, cuts))
        return zip(segments, cuts, strict=True)

    # --- fetching

    def _fetch(self, segments: list[Segment]) -> None:
        """Bring keys and hashes of small ranges here, and note where they differ."""
        two_sided = [segment for segment in segments if segment.count_a and segment.count_b]
        for group in _grouped(two_sided):
            if self._enough():
                return
            a, b = self._ask_both(partial(compare.rows, segments=group))
            self._note(a, b)
        for segment in segments:
            if not segment.count_a:
                self._note([], self._some(self.b_conn, self.b, segment))
            elif not segment.count_b:
                self._note(self._some(self.a_conn, self.a, segment), [])

    def _some(self, conn: psycopg.Connection, side: Side, segment: Segment) -> list[Row]:
        """Every row here is a difference, so no more are fetched than are to be named."""
        limit = self._limit()
        rows = self._ask(conn, compare.rows(side, [segment], limit))
        self.cut_short |= len(rows) >= limit
        return rows

    def _fetch_nulls(self) -> None:
        limit = self._limit()
        a, b = self._ask_both(lambda side: compare.rows_without_key(side, limit))
        self.cut_short |= len(a) >= limit or len(b) >= limit
        self._note(a, b)

    def _enough(self) -> bool:
        """Whether more is known to differ than is to be named."""
        self.cut_short |= len(self.found) > self.max_differences
        return self.cut_short

    def _limit(self) -> int:
        return max(self.max_differences - len(self.found), 0) + 1

    def _note(self, a: Sequence[Row], b: Sequence[Row]) -> None:
        """Add what was fetched to what is known; a key that agrees after all is forgotten.

        A key can come in two fetches: where the encodings of the databases differ, so may the
        order of text.
        """
        self.rows_transferred += len(a) + len(b)
        touched = set()
        for position, rows in enumerate((a, b)):
            for *key, value, times in rows:
                entry = self.found.setdefault(tuple(key), (Counter(), Counter()))
                entry[position][value] += times
                touched.add(tuple(key))
        for name in touched:
            if self.found[name][0] == self.found[name][1]:
                del self.found[name]

    # --- asking

    def _ask(self, conn: psycopg.Connection, query: sql.Composed) -> list[Row]:
        self.queries += 1
        return _fetch_all(conn, query)

    def _ask_both(self, query: Callable[[Side], sql.Composed]) -> tuple[list[Row], list[Row]]:
        """Both databases work at the same time."""
        self.queries += 2
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(_fetch_all, self.b_conn, query(self.b))
            return _fetch_all(self.a_conn, query(self.a)), other.result()


def _fetch_all(conn: psycopg.Connection, query: sql.Composed) -> list[Row]:
    return conn.execute(query).fetchall()


def _parts(segment: Segment, cuts: list[Key]) -> list[Segment]:
    """The segment cut at the given keys; when no key cuts it, the whole of it, to be fetched."""
    inner = [cut for cut in dict.fromkeys(cuts) if cut != segment.lower]
    bounds = [segment.lower, *inner, segment.upper]
    depth = segment.depth + 1 if inner else _MAX_DEPTH
    return [Segment(lower, upper, 0, 0, depth) for lower, upper in pairwise(bounds)]


def _grouped(segments: list[Segment]) -> Iterable[list[Segment]]:
    """Neighbours together, as many as one fetch may bring."""
    group: list[Segment] = []
    size, room = 0, _ROWS_OF_THE_FIRST_FETCH
    for segment in segments:
        if group and size + segment.rows > room:
            yield group
            group, size, room = [], 0, min(2 * room, _ROWS_A_FETCH)
        group.append(segment)
        size += segment.rows
    if group:
        yield group


def _told(
    key: tuple[str | None, ...], a: Counter[int], b: Counter[int], multiset: bool
) -> Iterable[Difference]:
    lacking, surplus = (a - b).total(), (b - a).total()
    if lacking and surplus and not multiset:
        yield Difference("changed", key, max(lacking, surplus))
        return
    if lacking:
        yield Difference("missing", key, lacking)
    if surplus:
        yield Difference("extra", key, surplus)
