"""The rejected order lines, one by one, with what each was worth."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from pathlib import Path

import psycopg

from demo.show.ledger import MIGRATION
from demo.show.statements import statement


@dataclass(frozen=True)
class RejectedLine:
    """A line of the old system that is not in the new one; the amount is in dollars."""

    basket: int
    line: int
    household: int
    amount: Decimal
    rule: str
    reason: str


def rejected_lines(source: psycopg.Connection, home: psycopg.Connection) -> list[RejectedLine]:
    """Which lines, from the ledger; what they were worth, from the legacy database."""
    asked = {"mapping": MIGRATION}
    reasons = {
        (basket, line): (rule, reason)
        for basket, line, rule, reason in home.execute(statement("rejected_lines"), asked)
    }
    keys = {"baskets": [key[0] for key in reasons], "lines": [key[1] for key in reasons]}
    return [
        RejectedLine(basket, line, household, Decimal(cents) / 100, *reasons[basket, line])
        for basket, line, household, cents in source.execute(statement("line_amounts"), keys)
    ]


def write_csv(lines: list[RejectedLine], path: Path) -> None:
    """All of them, in a file that a spreadsheet opens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(RejectedLine))
        writer.writerows(map(astuple, lines))


def told(lines: list[RejectedLine], most: int = 10) -> Iterator[str]:
    """The first ones as text."""
    for each in lines[:most]:
        yield (
            f"  basket {each.basket} line {each.line:<3} household {each.household:<5}"
            f"{'$' + format(each.amount, ',.2f'):>16}  {each.rule}: {each.reason}"
        )
