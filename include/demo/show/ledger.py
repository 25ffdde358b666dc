"""What the ledger of the new database says about the demo's migration; reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, LiteralString

import psycopg

from demo.show.statements import statement

MIGRATION = "retail"


@dataclass(frozen=True)
class Phase:
    """One phase; ``worked`` are rows weighted by the steps that they have behind them."""

    name: str
    state: str
    batches: Mapping[str, int]
    planned: int
    moved: int
    worked: float

    @property
    def count(self) -> int:
        """All batches of the phase."""
        return sum(self.batches.values())


@dataclass(frozen=True)
class Account:
    """What became of the rows of one entity, over all phases."""

    entity: str
    batches: int
    source_rows: int
    loaded: int
    rejected: int
    kept: int
    gates: int
    ungated: int
    seconds: float
    differences: int
    comparisons: int
    holding: int


@dataclass(frozen=True)
class Total:
    """One column of a business check over all keys: source = target + rejected."""

    column: str
    source: Decimal
    rejected: Decimal
    target: Decimal


@dataclass(frozen=True)
class Business:
    """A business check: keys compared, and the sums of its columns over all of them."""

    name: str
    equal: bool
    asked: int
    answered: int
    differences: int
    totals: tuple[Total, ...]


@dataclass(frozen=True)
class Rejects:
    """Rejected rows, or values set to NULL, by rule: ``{entity: {rule: rows}}``."""

    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def has_ledger(home: psycopg.Connection) -> bool:
    """Whether a migration of this database was ever planned."""
    if home.execute("SELECT to_regclass('sinew.batch')").fetchone() == (None,):
        return False
    query = "SELECT EXISTS (SELECT FROM sinew.batch WHERE mapping = %s)"
    return home.execute(query, [MIGRATION]).fetchone() == (True,)


def drop_ledger(home: psycopg.Connection) -> None:
    """Forget all migrations into this database, with what they staged."""
    home.execute("DROP SCHEMA IF EXISTS sinew, sinew_stage, sinew_rows CASCADE")


def _ask(home: psycopg.Connection, name: LiteralString, **more: Any) -> list[tuple[Any, ...]]:
    return home.execute(statement(name), {"mapping": MIGRATION, **more}).fetchall()


def phases(home: psycopg.Connection) -> list[Phase]:
    """All phases in their order; none before the first plan."""
    if home.execute("SELECT to_regclass('sinew.phase')").fetchone() == (None,):
        return []
    return [Phase(*row) for row in _ask(home, "phases")]


def accounts(home: psycopg.Connection) -> list[Account]:
    """Each entity's account, parents before children."""
    return [Account(*row) for row in _ask(home, "accounts")]


def rejects(home: psycopg.Connection) -> Rejects:
    """All rejects by rule."""
    found: dict[str, dict[str, dict[str, int]]] = {"row": {}, "value": {}}
    for entity, scope, rule, rows in _ask(home, "rejects"):
        found[scope].setdefault(entity, {})[rule] = rows
    return Rejects(found["row"], found["value"])


def business(home: psycopg.Connection) -> list[Business]:
    """The business checks, as of the last phase that made each."""
    return [
        Business(name, equal, asked, answered, differences, _totals(totals))
        for name, equal, asked, answered, differences, _rejected, totals in _ask(home, "business")
    ]


def _totals(rows: list[Mapping[str, str]]) -> tuple[Total, ...]:
    return tuple(
        Total(row["column"], *(Decimal(row[side]) for side in ("source", "rejected", "target")))
        for row in rows
    )


def reports(home: psycopg.Connection) -> dict[str, int]:
    """The number of the newest report of each phase."""
    return dict(_ask(home, "reports"))


def worked_on_since(home: psycopg.Connection, moment: Any) -> int:
    """Batches that a step touched after ``moment``."""
    return int(_ask(home, "moved_since", since=moment)[0][0])


def batch_error(home: psycopg.Connection, batch_id: int) -> str | None:
    """What stopped a batch, in the engine's words."""
    rows = home.execute(statement("batch_error"), {"id": batch_id}).fetchall()
    return rows[0][3] if rows else None
