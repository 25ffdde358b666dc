"""Row ledger against target, in the database that holds both: what the ledger claims, and what is.

An entry claims a target row while it is live or kept, and also after a later change of its source
row was rejected: the target then holds the last good version. The entry of a deleted row claims its
target row as long as it has its hash: until that row could be taken out. Of a kept row, which was in the
target before, only the existence is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

_COMMA = sql.SQL(", ")
_AND = sql.SQL(" AND ")


@dataclass(frozen=True)
class Claims:
    """A row ledger and the target that it answers for.

    ``key`` pairs the ledger's columns with the target's; without one both are compared as multisets
    of hashes. ``hash`` (int8) is an expression over the target under the alias ``r``. ``sharing``
    holds the ledgers of other entities that load the same table; ``exclusive`` says that no row may
    be there that none of them claims.
    """

    ledger: sql.Composable
    target: sql.Composable
    key: tuple[tuple[str, str], ...]
    hash: sql.Composable
    exclusive: bool
    sharing: tuple[sql.Composable, ...] = ()


def claim_totals(claims: Claims) -> sql.Composed:
    """One row: entries, target rows found or extra, sums of their hashes, number of differences."""
    mine = "mine AND there" if claims.key else "there"
    return sql.SQL(
        "SELECT coalesce(sum(claimed) FILTER (WHERE mine), 0), "
        "coalesce(sum(found) FILTER (WHERE {answered} OR kind = 'extra'), 0), "
        "coalesce(sum(claimed_hash) FILTER (WHERE mine), 0), "
        "coalesce(sum(found_hash) FILTER (WHERE {answered} OR kind = 'extra'), 0), "
        "count(kind) FROM ({joined}) AS j"
    ).format(answered=sql.SQL(mine), joined=_joined(claims))


def claim_differences(claims: Claims, limit: int) -> sql.Composed:
    """The differing rows: kind, how often, target key values as text (without a key, the hash)."""
    return sql.SQL(
        "SELECT kind, abs(claimed - found) AS times, {names} FROM ({joined}) AS j "
        "WHERE kind IS NOT NULL ORDER BY {names} LIMIT {limit}"
    ).format(names=_names(claims), joined=_joined(claims), limit=sql.Literal(limit))


def _names(claims: Claims) -> sql.Composed:
    return _COMMA.join(sql.Identifier(f"x{i}") for i in range(max(len(claims.key), 1)))


def _joined(claims: Claims) -> sql.Composed:
    return _by_key(claims) if claims.key else _by_hash(claims)


_STATES = sql.SQL(
    "(state IN ('live', 'kept', 'rejected') OR state = 'deleted' AND target_hash IS NOT NULL)"
)


def _by_key(claims: Claims) -> sql.Composed:
    """Each claim beside its target row. The hash is computed where the target row is read, once."""
    entry, column = zip(*claims.key, strict=True)
    return sql.SQL(
        "SELECT {texts}, {kind} AS kind, mine, t.there, "
        "CASE WHEN c.mine THEN 1 ELSE 0 END AS claimed, "
        "CASE WHEN t.there THEN 1 ELSE 0 END AS found, "
        "CASE WHEN c.state <> 'kept' THEN c.target_hash END AS claimed_hash, "
        "CASE WHEN c.state IS DISTINCT FROM 'kept' THEN t.hash END AS found_hash "
        "FROM ({claims}) AS c {join} JOIN "
        "(SELECT {columns}, {hash} AS hash, true AS there FROM {target} AS r OFFSET 0) AS t "
        "ON {same}"
    ).format(
        texts=_COMMA.join(
            sql.SQL("coalesce(c.{}::text, t.{}::text) AS {}").format(
                sql.Identifier(a), sql.Identifier(b), sql.Identifier(f"x{i}")
            )
            for i, (a, b) in enumerate(claims.key)
        ),
        kind=_KIND_BY_KEY,
        claims=_claimed(claims, entry),
        join=sql.SQL("FULL" if claims.exclusive else "LEFT"),
        columns=_COMMA.join(sql.Identifier("r", name) for name in column),
        hash=claims.hash,
        target=claims.target,
        same=_AND.join(
            sql.SQL("c.{} = t.{}").format(sql.Identifier(a), sql.Identifier(b))
            for a, b in claims.key
        ),
    )


_KIND_BY_KEY = sql.SQL(
    "CASE WHEN c.mine IS NULL THEN 'extra' WHEN NOT c.mine THEN NULL "
    "WHEN t.there IS NULL THEN 'missing' "
    "WHEN c.state <> 'kept' AND c.target_hash IS DISTINCT FROM t.hash THEN 'changed' END"
)


def _claimed(claims: Claims, entry: Sequence[str]) -> sql.Composed:
    names = [sql.Identifier(name) for name in entry]
    present = _AND.join([_STATES, *(sql.SQL("{} IS NOT NULL").format(name) for name in names)])
    ledgers = [(claims.ledger, True), *((ledger, False) for ledger in claims.sharing)]
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, state, target_hash, {}::boolean AS mine FROM {} WHERE {}").format(
            _COMMA.join(names), sql.Literal(mine), ledger, present
        )
        for ledger, mine in ledgers
    )


def _by_hash(claims: Claims) -> sql.Composed:
    """Each hash with the number of our claims, and of target rows that answer them or that nobody claims.

    Equal rows of several entities cannot be told apart: what others claim too is given to them first.
    """
    ledgers = [(claims.ledger, True), *((ledger, False) for ledger in claims.sharing)]
    entries = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT target_hash, {}::boolean AS mine FROM {} WHERE state = 'live'").format(
            sql.Literal(mine), ledger
        )
        for ledger, mine in ledgers
    )
    return sql.SQL(
        "SELECT x0::text AS x0, claimed > 0 AS mine, there, "
        "CASE WHEN lacking > 0 THEN 'missing' WHEN surplus > 0 THEN 'extra' END AS kind, "
        "claimed, claimed - lacking + surplus AS found, "
        "x0 * claimed AS claimed_hash, x0 * (claimed - lacking + surplus) AS found_hash FROM "
        "(SELECT x0, coalesce(c.mine, 0) AS claimed, t.found IS NOT NULL AS there, "
        "least(coalesce(c.mine, 0), greatest(coalesce(c.claims, 0) - coalesce(t.found, 0), 0)) AS lacking, "
        "CASE WHEN {exclusive} THEN greatest(coalesce(t.found, 0) - coalesce(c.claims, 0), 0) ELSE 0 END AS surplus "
        "FROM (SELECT target_hash::numeric AS x0, count(*) FILTER (WHERE mine) AS mine, count(*) AS claims "
        "FROM ({entries}) AS e GROUP BY 1) AS c FULL JOIN "
        "(SELECT ({hash})::numeric AS x0, count(*) AS found FROM {target} AS r GROUP BY 1) AS t "
        "USING (x0)) AS counted WHERE claimed > 0 OR surplus > 0"
    ).format(
        entries=entries,
        exclusive=sql.Literal(claims.exclusive),
        hash=claims.hash,
        target=claims.target,
    )
