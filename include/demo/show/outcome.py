"""What came of the migration: every figure checked against the databases and the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import LiteralString

import psycopg
from psycopg import sql

from demo.legacy import Manifest
from demo.show import ledger
from demo.show.ledger import Account, Business, Phase, Rejects
from demo.show.rejected_lines import RejectedLine, rejected_lines
from demo.show.statements import statement

# The one entity whose table bears another name.
_TABLES: Mapping[str, LiteralString] = {"notes": "customer_notes"}


@dataclass(frozen=True)
class Outcome:
    """Everything that the end of the demo tells; ``target_rows`` are counted in the tables."""

    phases: tuple[Phase, ...]
    accounts: tuple[Account, ...]
    target_rows: Mapping[str, int]
    rejects: Rejects
    business: tuple[Business, ...]
    lines: tuple[RejectedLine, ...]
    arrived_cents: int

    @property
    def rejected_amount(self) -> Decimal:
        """What the rejected lines are worth together, in dollars."""
        return sum((line.amount for line in self.lines), Decimal(0))


def gather(source: psycopg.Connection, home: psycopg.Connection) -> Outcome:
    """Read both databases; changes nothing."""
    accounts = ledger.accounts(home)
    (arrived,) = home.execute(statement("sales")).fetchone() or (0,)
    return Outcome(
        tuple(ledger.phases(home)),
        tuple(accounts),
        {account.entity: _count(home, account.entity) for account in accounts},
        ledger.rejects(home),
        tuple(ledger.business(home)),
        tuple(rejected_lines(source, home)),
        arrived,
    )


def _count(home: psycopg.Connection, entity: str) -> int:
    table = sql.Identifier("commerce", _TABLES.get(entity, entity))
    row = home.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def problems(found: Outcome, manifest: Manifest) -> list[str]:
    """All that is not as it must be, each in a sentence; empty when everything adds up."""
    return [
        *_of_phases(found),
        *(problem for account in found.accounts for problem in _of_account(account)),
        *_of_figures(found, manifest),
        *_of_business(found),
        *_of_money(found, manifest),
    ]


def _of_phases(found: Outcome) -> Iterator[str]:
    for phase in found.phases:
        if phase.state != "complete":
            yield f"phase {phase.name} is {phase.state}, not complete"
    if not found.phases:
        yield "no phase was planned"


def _of_account(account: Account) -> Iterator[str]:
    rest = account.source_rows - account.loaded - account.rejected - account.kept
    if rest:
        yield f"{account.entity}: {rest:,} source rows are neither loaded nor rejected"
    if account.ungated:
        yield f"{account.entity}: {account.ungated} of {account.batches} batches passed no gate"
    if account.differences or account.holding < account.comparisons:
        yield f"{account.entity}: source and target differ in {account.differences} rows or more"
    if not account.comparisons:
        yield f"{account.entity}: it was not compared"


def _of_figures(found: Outcome, manifest: Manifest) -> Iterator[str]:
    by_name = {account.entity: account for account in found.accounts}
    for figures in manifest.figures:
        account = by_name.get(figures.entity)
        if account is None:
            yield f"{figures.entity}: it was not moved"
            continue
        pairs = (
            ("rows of the source", figures.source_rows, account.source_rows),
            ("rows loaded", figures.expected_loaded, account.loaded),
            ("rows rejected", figures.rejected, account.rejected),
            ("rows in the target", figures.expected_loaded, found.target_rows[figures.entity]),
        )
        for what, wanted, seen in pairs:
            if wanted != seen:
                yield f"{figures.entity}: {seen:,} {what}, {wanted:,} were expected"
    yield from _of_rules(found, manifest)


def _of_rules(found: Outcome, manifest: Manifest) -> Iterator[str]:
    for entity, scope, rule, wanted, seen in rules(found.rejects, manifest):
        if wanted != seen:
            yield f"{entity}: {seen:,} rejected {scope}s by rule {rule}, {wanted:,} were planted"


def rules(rejects: Rejects, manifest: Manifest) -> list[tuple[str, str, str, int, int]]:
    """Entity, scope, rule, number expected and number found; of all that is expected or found."""
    lines = []
    for figures in manifest.figures:
        for scope, wanted, seen in (
            ("row", figures.expected_rejects, rejects.rows.get(figures.entity, {})),
            ("value", figures.expected_values, rejects.values.get(figures.entity, {})),
        ):
            for rule in sorted({*wanted, *seen}):
                lines.append((figures.entity, scope, rule, wanted.get(rule, 0), seen.get(rule, 0)))
    return lines


def _of_business(found: Outcome) -> Iterator[str]:
    for check in found.business:
        if not check.equal:
            yield f"{check.name}: {check.differences:,} differences"
        if check.asked == 0:
            yield f"{check.name}: nothing was compared"
    if not found.business:
        yield "no business check was made"


def _of_money(found: Outcome, manifest: Manifest) -> Iterator[str]:
    rejected = int(found.rejected_amount * 100)
    if rejected != manifest.rejected_sales_cents:
        yield (
            f"the rejected lines are worth {rejected:,} cents, "
            f"{manifest.rejected_sales_cents:,} were planted"
        )
    if found.arrived_cents + rejected != manifest.sales_cents:
        yield (
            f"{manifest.sales_cents:,} cents of sales are not the {found.arrived_cents:,} that "
            f"arrived and the {rejected:,} that were rejected"
        )
