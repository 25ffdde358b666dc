"""Row ledger against target: is what was loaded still there, and nothing else?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg import sql

from sinew.compile.claims import Claims, claim_differences, claim_totals
from sinew.compile.compare import Comparison, Difference
from sinew.engine.session import translated


def compare_target(
    home: psycopg.Connection,
    ledger: sql.Composable,
    target: sql.Composable,
    key: Sequence[tuple[str, str]],
    target_hash: sql.Composable,
    *,
    exclusive: bool,
    sharing: Sequence[sql.Composable] = (),
    max_differences: int = 1000,
    doing: str = "reconcile with the target",
) -> Comparison:
    """Compare a row ledger with the table that it answers for, inside one database. Reads only.

    ``key`` pairs the ledger's columns with the target's, () for a target of plain rows;
    ``target_hash`` is an expression over the target as ``r``; ``sharing`` names the other ledgers
    whose entities load the same table. Differences name target keys.
    """
    claims = Claims(ledger, target, tuple(key), target_hash, exclusive, tuple(sharing))
    with translated(doing):
        return _compare(home, claims, max_differences)


def _compare(home: psycopg.Connection, claims: Claims, max_differences: int) -> Comparison:
    started = time.monotonic()
    totals = home.execute(claim_totals(claims)).fetchone()
    assert totals is not None
    count_a, count_b, sum_a, sum_b, differing = map(int, totals)
    named = []
    if differing:
        named = home.execute(claim_differences(claims, max_differences)).fetchall()
    return Comparison(
        count_a,
        count_b,
        sum_a,
        sum_b,
        tuple(Difference(kind, tuple(key), int(times) or 1) for kind, times, *key in named),
        rows_transferred=len(named),
        queries=2 if differing else 1,
        complete=differing <= max_differences,
        seconds=time.monotonic() - started,
    )
