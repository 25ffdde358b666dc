"""Figures in words, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, word: str) -> str:
    """1 row, 2,000 rows; 1 batch, 2 batches."""
    ending = "" if number == 1 else "es" if word.endswith(("ch", "sh", "s")) else "s"
    return f"{number:,} {word}{ending}"


def clock(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], foot: bool = False) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    everything = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in everything
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines.insert(1, rule)
    if foot:
        lines.insert(len(lines) - 1, rule)
    return lines
