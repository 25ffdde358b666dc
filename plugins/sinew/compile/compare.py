"""Two relations compared inside their databases, by counts and sums of row hashes over key ranges.

Keys travel as text and are compared in the database's own order. A range is half-open; the first
has no lower bound and the last no upper one, so that no key falls outside. Nothing here touches a
database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sinew.compile.facts import PgType

Key = tuple[str, ...]
Kind = Literal["missing", "extra", "changed"]

_AND = sql.SQL(" AND ")
_OR = sql.SQL(" OR ")
_COMMA = sql.SQL(", ")
_INT8 = PgType("bigint", "int8", category="N")
# More disjoint ranges than this cost the planner more than reading what lies between them.
_MAX_RANGES = 16


@dataclass(frozen=True)
class Side:
    """A relation that can be asked for count and sum of hashes over key ranges.

    ``relation`` is a FROM item under the alias ``r``; ``key`` and ``hash`` (int8) are expressions
    over it, text keys with COLLATE "C". Without a key the rows are a multiset, told apart by
    their hash alone.
    """

    relation: sql.Composable
    key: tuple[sql.Composable, ...]
    key_types: tuple[PgType, ...]
    hash: sql.Composable
    where: sql.Composable | None = None

    def keyed(self) -> Side:
        """The same rows with their hash as the key, when they have no other."""
        if self.key:
            return self
        # OFFSET 0: each comparison with a cut point would compute the hash again.
        hashes = sql.SQL("(SELECT {} AS hash FROM {}{} OFFSET 0) AS r").format(
            self.hash, self.relation, _where([self.where])
        )
        hashed = sql.Identifier("r", "hash")
        return Side(hashes, (hashed,), (_INT8,), hashed)


@dataclass(frozen=True)
class Segment:
    """A part of the key space: lower inclusive, upper exclusive, None: no bound; rows a side."""

    lower: Key | None = None
    upper: Key | None = None
    count_a: int = 0
    count_b: int = 0
    depth: int = 0

    @property
    def rows(self) -> int:
        """Rows of the fuller side."""
        return max(self.count_a, self.count_b)


@dataclass(frozen=True)
class Difference:
    """One row on which two sides disagree: missing from the second, extra in it, or changed.

    ``key`` holds the key's values as text; for rows without a key, their hash, found ``times``
    too often or too seldom.
    """

    kind: Kind
    key: tuple[str | None, ...]
    times: int = 1


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two sides found, and what finding it cost.

    ``complete`` is False when there are more differences than were asked for;
    ``rows_transferred`` counts the keys that left a database.
    """

    count_a: int
    count_b: int
    sum_a: int
    sum_b: int
    differences: tuple[Difference, ...] = ()
    rows_transferred: int = 0
    queries: int = 0
    complete: bool = True
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        same = (self.count_a, self.sum_a) == (self.count_b, self.sum_b)
        return same and self.complete and not self.differences


# --- statements over one side


def totals(side: Side) -> sql.Composed:
    """Rows, sum of their hashes (numeric, never modulo 2^64), and rows with a NULL in the key."""
    given = sql.SQL("NOT ({})").format(_key_given(side)) if side.key else sql.SQL("false")
    return sql.SQL(
        "SELECT count(*), coalesce(sum({}), 0), count(*) FILTER (WHERE {}) FROM {}{}"
    ).format(side.hash, given, side.relation, _where([side.where]))


def part_totals(side: Side, segments: Sequence[Segment]) -> sql.Composed:
    """For each segment that has rows: its position, its rows, the sum of their hashes."""
    return sql.SQL(
        "SELECT part, count(*), sum(hash) FROM ({}) AS s WHERE part IS NOT NULL GROUP BY part"
    ).format(_labelled(side, segments, [sql.SQL("{} AS hash").format(side.hash)]))


def quantiles(
    side: Side, segments: Sequence[Segment], fanout: int, share: float = 1.0
) -> sql.Composed:
    """Keys that cut each segment into ``fanout`` similar parts, from a ``share`` of its rows.

    Result: segment's position, key values as text; in the order of the keys.
    """
    names = [sql.Identifier(f"k{i}") for i in range(len(side.key))]
    keys = [sql.SQL("{} AS {}").format(k, n) for k, n in zip(side.key, names, strict=True)]
    chance = sql.SQL("random() < {}").format(sql.Literal(share)) if share < 1 else None
    return sql.SQL(
        "SELECT part, {texts} FROM (SELECT part, {names}, row_number() OVER w - 1 AS n, "
        "count(*) OVER (PARTITION BY part) AS total FROM ({rows}) AS s WHERE part IS NOT NULL "
        "WINDOW w AS (PARTITION BY part ORDER BY {names})) AS q "
        "WHERE n > 0 AND n * {fanout} / total <> (n - 1) * {fanout} / total "
        "ORDER BY q.part, {order}"
    ).format(
        texts=_COMMA.join(sql.SQL("{}::text").format(name) for name in names),
        names=_COMMA.join(names),
        # Bare names would mean the texts of the select list, and 10 sorts before 9 there.
        order=_COMMA.join(sql.SQL("q.{}").format(name) for name in names),
        rows=_labelled(side, segments, keys, chance),
        fanout=sql.Literal(fanout),
    )


def rows(side: Side, segments: Sequence[Segment], limit: int | None = None) -> sql.Composed:
    """Key values as text, hash and number of the segments' rows; identical ones are told once."""
    return _grouped(side, [_key_given(side), _inside(side, segments)], limit)


def rows_without_key(side: Side, limit: int) -> sql.Composed:
    """As ``rows``, for the rows that no range can hold: those with a NULL in the key."""
    return _grouped(side, [sql.SQL("NOT ({})").format(_key_given(side))], limit)


def _grouped(
    side: Side, conditions: list[sql.Composable | None], limit: int | None
) -> sql.Composed:
    names = [sql.Identifier(f"k{i}") for i in range(len(side.key))]
    keys = _COMMA.join(
        sql.SQL("({})::text AS {}").format(k, n) for k, n in zip(side.key, names, strict=True)
    )
    grouped = sql.SQL(
        "SELECT {names}, hash, count(*) FROM "
        "(SELECT {keys}, {hash} AS hash FROM {relation}{where}) AS s "
        "GROUP BY {names}, hash"
    ).format(
        names=_COMMA.join(names),
        keys=keys,
        hash=side.hash,
        relation=side.relation,
        where=_where([side.where, *conditions]),
    )
    return grouped if limit is None else sql.SQL("{} LIMIT {}").format(grouped, sql.Literal(limit))


def _labelled(
    side: Side,
    segments: Sequence[Segment],
    columns: list[sql.Composed],
    condition: sql.Composable | None = None,
) -> sql.Composed:
    # OFFSET 0 keeps the subquery whole: the key and the hash are computed once a row, and the
    # planner, which cannot look through it, expects few groups. Else it sorts millions of rows to
    # make sixteen groups.
    return sql.SQL("SELECT {} AS part, {} FROM {}{} OFFSET 0").format(
        _part(side, segments),
        _COMMA.join(columns),
        side.relation,
        _where([side.where, _key_given(side), _inside(side, segments), condition]),
    )


def _where(conditions: Sequence[sql.Composable | None]) -> sql.Composed:
    given = [sql.SQL("({})").format(condition) for condition in conditions if condition is not None]
    return sql.SQL(" WHERE {}").format(_AND.join(given)) if given else sql.Composed([])


def _key_given(side: Side) -> sql.Composable:
    return _AND.join(sql.SQL("{} IS NOT NULL").format(key) for key in side.key)


# --- positions of keys among the segments


def _part(side: Side, segments: Sequence[Segment]) -> sql.Composable:
    cuts, labels = _regions(segments)
    return _search(side, cuts, labels)


def _regions(segments: Sequence[Segment]) -> tuple[list[Key], list[int | None]]:
    """Ascending cut points, and for each region between them the segment's position or None."""
    cuts: list[Key] = []
    labels: list[int | None] = [None]
    for position, segment in enumerate(segments):
        if segment.lower is not None and (not cuts or cuts[-1] != segment.lower):
            cuts.append(segment.lower)
            labels.append(None)
        labels[-1] = position
        if segment.upper is not None:
            cuts.append(segment.upper)
            labels.append(None)
    return cuts, labels


def _search(side: Side, cuts: list[Key], labels: list[int | None]) -> sql.Composable:
    """A binary search as nested CASEs: a row costs log2(cuts) comparisons."""
    if not cuts:
        return sql.SQL("{}::int").format(sql.Literal(labels[0]))
    middle = len(cuts) // 2
    return sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
        _compared(side, "<", cuts[middle]),
        _search(side, cuts[:middle], labels[: middle + 1]),
        _search(side, cuts[middle + 1 :], labels[middle + 1 :]),
    )


def _inside(side: Side, segments: Sequence[Segment]) -> sql.Composable | None:
    """Predicate over the key, which an index can serve; None when the segments cover everything."""
    merged = _merged(segments)
    if len(merged) > _MAX_RANGES:
        merged = [(merged[0][0], merged[-1][1])]
    if (None, None) in merged:
        return None
    return _OR.join(sql.SQL("({})").format(_within(side, *bounds)) for bounds in merged)


def _merged(segments: Sequence[Segment]) -> list[tuple[Key | None, Key | None]]:
    merged: list[tuple[Key | None, Key | None]] = []
    for segment in segments:
        if merged and merged[-1][1] is not None and merged[-1][1] == segment.lower:
            merged[-1] = (merged[-1][0], segment.upper)
        else:
            merged.append((segment.lower, segment.upper))
    return merged


def _within(side: Side, lower: Key | None, upper: Key | None) -> sql.Composable:
    parts = []
    if lower is not None:
        parts.append(_compared(side, ">=", lower))
    if upper is not None:
        parts.append(_compared(side, "<", upper))
    return _AND.join(parts)


def _compared(side: Side, operator: Literal["<", ">="], bound: Key) -> sql.Composable:
    values = [
        sql.SQL("{}::{}").format(sql.Literal(value), _bare(type_))
        for value, type_ in zip(bound, side.key_types, strict=True)
    ]
    return sql.SQL("({}) {} ({})").format(
        _COMMA.join(side.key), sql.SQL(operator), _COMMA.join(values)
    )


def _bare(type_: PgType) -> sql.Composable:
    """The type without its modifier: a bound cut to varchar(5) is another bound."""
    if type_.builtin and type_.kind in ("b", "r", "m"):
        # An index on a varchar column is one on text.
        return sql.Identifier("pg_catalog", "text" if type_.name == "varchar" else type_.name)
    return sql.SQL(type_.sql)
