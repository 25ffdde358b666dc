"""The outcome as text: what a person reads at the end of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from demo.legacy import Manifest
from demo.show.ledger import Business
from demo.show.outcome import Outcome, rules
from demo.show.rejected_lines import told
from demo.show.words import count, table

_LIFETIME = "lifetime_value"


def tell(found: Outcome, manifest: Manifest, csv_file: Path) -> Iterator[str]:
    """All that came of the migration; each part is a block of lines."""
    yield from _entities(found)
    yield ""
    for check in found.business:
        yield from _business(check)
    yield from _money(found, manifest, csv_file)
    yield ""
    yield from _rejects(found, manifest)


def _entities(found: Outcome) -> Iterator[str]:
    head = ("entity", "source rows", "loaded", "rejected", "in target", "mismatches", "gates", "s")
    rows = [
        (
            each.entity,
            f"{each.source_rows:,}",
            f"{each.loaded:,}",
            f"{each.rejected:,}",
            f"{found.target_rows[each.entity]:,}",
            f"{each.differences:,}",
            f"{each.gates}/{each.batches}",
            f"{each.seconds:.1f}",
        )
        for each in found.accounts
    ]
    rows.append(
        (
            "all",
            f"{sum(each.source_rows for each in found.accounts):,}",
            f"{sum(each.loaded for each in found.accounts):,}",
            f"{sum(each.rejected for each in found.accounts):,}",
            f"{sum(found.target_rows.values()):,}",
            f"{sum(each.differences for each in found.accounts):,}",
            f"{sum(e.gates for e in found.accounts)}/{sum(e.batches for e in found.accounts)}",
            f"{sum(each.seconds for each in found.accounts):.1f}",
        )
    )
    yield from table(head, rows, foot=True)
    yield "source rows = loaded + rejected; gates: passed / batches; s: seconds of work in batches"


def _business(check: Business) -> Iterator[str]:
    verdict = "equal" if check.equal else count(check.differences, "difference")
    yield f"{check.name[:1].upper()}{check.name[1:]}: {check.asked:,} compared, {verdict}"
    for total in check.totals:
        money = total.column == _LIFETIME
        source, target, rejected = (
            _amount(number, money) for number in (total.source, total.target, total.rejected)
        )
        yield f"  in all {source} = {target} in the new database + {rejected} on rejected rows"


def _amount(number: Decimal, money: bool) -> str:
    return f"${number:,.2f}" if money else f"{number:,.0f}"


def _money(found: Outcome, manifest: Manifest, csv_file: Path) -> Iterator[str]:
    lines = list(found.lines)
    yield (
        f"All sales to the cent: ${Decimal(manifest.sales_cents) / 100:,.2f} = "
        f"${Decimal(found.arrived_cents) / 100:,.2f} arrived + ${found.rejected_amount:,.2f} on "
        f"{count(len(lines), 'rejected line')}, those of rejected customers included:"
    )
    yield from told(lines)
    if len(lines) > 10:
        yield f"  ... and {len(lines) - 10:,} more; all of them: {csv_file}"


def _rejects(found: Outcome, manifest: Manifest) -> Iterator[str]:
    rows = [
        (f"{entity} ({scope})", rule, f"{wanted:,}", f"{seen:,}")
        for entity, scope, rule, wanted, seen in rules(found.rejects, manifest)
    ]
    yield from table(("rejects", "rule", "planted", "found"), rows)
    same = all(wanted == seen for *_, wanted, seen in rules(found.rejects, manifest))
    yield "Rejects are as planted." if same else "Rejects are NOT as planted."
