"""The report as one HTML page: words and shapes made ready here, put in place by a template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import groupby
from pathlib import Path
from typing import Any

from sinew.engine.report import (
    BatchRow,
    BusinessRow,
    CheckRow,
    ComparisonRow,
    EntityRow,
    RejectRule,
    ReportData,
    differing,
    plural,
)

STEPS = ("extract", "transform", "check", "load", "validate")
# More lanes than this tell the eye nothing; the longest are shown.
_MAX_LANES = 60
_WORST = ("FAILED", "MISSING", "NOT_EVALUATED", "WARN", "PASSED")
_FOLDER = Path(__file__).parent / "templates"


def render(data: ReportData) -> str:
    """The whole page. Everything that comes from the data is escaped by the template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "seconds": duration,
        "bytes": size,
        "moment": moment,
        "amount": amount,
        "plural": plural,
    }
    template = environment.get_template("report.html")
    return template.render(data=data, **_views(data))


def _views(data: ReportData) -> dict[str, Any]:
    return {
        "css": (_FOLDER / "report.css").read_text(encoding="utf-8"),
        "tiles": _tiles(data),
        "entities": [_entity(data, row) for row in data.entities],
        "proofs": [_proof(data, row.entity) for row in data.entities],
        "business": [_business(check) for check in data.business],
        "gates": _gates(data.checks),
        "rejects": _rejects(data.rejects),
        "steps": _steps(data.batches),
        "lanes": _lanes(data.batches),
        "lanes_left_out": max(len(_timed(data.batches)) - _MAX_LANES, 0),
        "failed_batches": [row for row in data.batches if row.error],
        "snapshots": len({row.source_snapshot for row in data.batches if row.source_snapshot}),
    }


# --- words


def count(value: float | None) -> str:
    """1234567 as 1,234,567."""
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 0.4 s, 41 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size(value: float) -> str:
    """Bytes with a unit, by thousands."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.{0 if unit == 'bytes' or value >= 10 else 1}f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def moment(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "–" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def amount(value: object) -> str:
    """A number that came as text, grouped; any other text as it is."""
    if value is None:
        return "NULL"
    try:
        number = Decimal(str(value))
        if "." not in str(value):
            return f"{number:,f}"
        # A quotient carries twenty zeros from Postgres; cents keep their two decimals.
        cents = number.quantize(Decimal("0.01"))
        return f"{cents if cents == number else number.normalize():,f}"
    except (InvalidOperation, ValueError):
        return str(value)


def share(part: float, whole: float) -> float:
    """Per cent, 0 of nothing."""
    return 100 * part / whole if whole else 0.0


def percent(part: float, whole: float) -> str:
    """A share that never says 0 % for something nor 100 % for less than all."""
    value = share(part, whole)
    if 0 < value < 0.01:
        return "< 0.01 %"
    if 99.99 < value < 100:
        return "> 99.99 %"
    return f"{value:.2f} %" if 0 < value < 100 else f"{value:.0f} %"


# --- the head


@dataclass(frozen=True)
class Tile:
    """A figure that the page opens with; ``tone`` is good, bad or ''."""

    label: str
    value: str
    note: str
    tone: str = ""


def _tiles(data: ReportData) -> list[Tile]:
    read = sum(row.source_rows for row in data.entities)
    loaded = sum(row.loaded for row in data.entities)
    rejected = sum(row.rejected for row in data.entities)
    moved = [row.entity for row in data.entities if row.source_rows]
    return [
        Tile("Source rows", count(read), f"in {plural(len(moved), 'table')}"),
        Tile("Loaded", count(loaded), percent(loaded, read)),
        Tile("Rejected", count(rejected), f"{percent(rejected, read)}, each with its reason"),
        _difference_tile(data),
        _gate_tile(data),
        _time_tile(data, read),
    ]


def _difference_tile(data: ReportData) -> Tile:
    found = sum(len(row.result.get("differences", ())) for row in data.comparisons)
    more = not all(row.result.get("complete", True) for row in data.comparisons)
    if not data.comparisons:
        return Tile("Differences", "–", "not compared yet", "bad")
    bad = bool(found) or not all(row.equal for row in data.comparisons)
    note = "source, ledger and target agree" if not bad else "rows that do not agree"
    return Tile("Differences", count(found) + ("+" if more else ""), note, "bad" if bad else "good")


def _gate_tile(data: ReportData) -> Tile:
    passed = sum(row.gates_passed for row in data.entities)
    failed = sum(row.gates_failed for row in data.entities)
    note = plural(len(data.checks), "check") if data.checks else "batches"
    tone = "bad" if failed else "good" if passed else ""
    return Tile("Gates passed", f"{count(passed)} of {count(passed + failed)}", note, tone)


def _time_tile(data: ReportData, read: int) -> Tile:
    if data.started_at is None:
        return Tile("Time", "–", "not started")
    took = ((data.completed_at or data.made_at) - data.started_at).total_seconds()
    return Tile("Time", duration(took), f"{count(read / took if took > 0 else 0)} rows/s overall")


# --- entities


def _entity(data: ReportData, row: EntityRow) -> dict[str, Any]:
    proofs = [item for item in data.comparisons if item.entity == row.entity]
    parts = (("loaded", row.loaded), ("kept", row.kept), ("rejected", row.rejected))
    return {
        "row": row,
        "rate": row.source_rows / row.seconds if row.seconds else None,
        "parts": [(name, share(value, row.source_rows)) for name, value in parts if value],
        "loaded_percent": percent(row.loaded + row.kept, row.source_rows),
        "differences": _together(proofs),
        "good": bool(proofs) and all(item.equal for item in proofs),
        "compared": bool(proofs),
    }


def _together(proofs: Sequence[ComparisonRow]) -> str:
    found = sum(len(item.result.get("differences", ())) for item in proofs)
    complete = all(item.result.get("complete", True) for item in proofs)
    return count(found) if complete else f"{count(found)}+"


def _proof(data: ReportData, entity: str) -> dict[str, Any]:
    rows = sorted(
        (item for item in data.comparisons if item.entity == entity), key=lambda item: item.side
    )
    return {
        "entity": entity,
        "mode": data.hash_modes.get(entity, ""),
        "good": all(item.equal for item in rows),
        "sides": [
            {
                "row": item,
                "result": item.result,
                "names": ("source", "row ledger")
                if item.side == "source"
                else ("row ledger", "target"),
                "differing": differing(item),
                "differences": item.result.get("differences", ())[:50],
            }
            for item in rows
        ],
    }


# --- business checks


def _business(check: BusinessRow) -> dict[str, Any]:
    result = check.result
    rejected = result.get("rejected", ())
    return {
        "name": check.name,
        "good": check.equal,
        "result": result,
        "totals": result.get("totals", ()),
        "differences": result.get("differences", ()),
        "taken": [row for row in rejected if row.get("taken")],
        "not_asked": sum(1 for row in rejected if not row.get("taken")),
        "columns": list(rejected[0].get("amounts", ())) if rejected else [],
    }


# --- gates


def _gates(checks: Iterable[CheckRow]) -> list[dict[str, Any]]:
    """By entity; within it the same check of all batches is one line, the worst first."""
    ordered = sorted(checks, key=lambda row: (row.entity, row.name, row.column or ""))
    return [_gate(entity, list(rows)) for entity, rows in groupby(ordered, lambda row: row.entity)]


def _gate(entity: str, rows: list[CheckRow]) -> dict[str, Any]:
    lines = [
        _check_line(list(same)) for _, same in groupby(rows, lambda row: (row.name, row.column))
    ]
    lines.sort(key=lambda line: _rank(line["outcome"]))
    good = all(line["good"] for line in lines)
    warned = any(line["outcome"] == "WARN" for line in lines)
    batches = len({row.batch_id for row in rows})
    return {"entity": entity, "lines": lines, "good": good, "warned": warned, "batches": batches}


def _rank(outcome: str) -> int:
    return _WORST.index(outcome) if outcome in _WORST else 0


def _check_line(rows: list[CheckRow]) -> dict[str, Any]:
    first = min(rows, key=lambda row: _rank(row.outcome))
    values = sorted({row.value for row in rows if row.value is not None})
    failed = [row.failed_rows for row in rows if row.failed_rows is not None]
    return {
        "name": first.name,
        "column": first.column,
        "outcome": first.outcome,
        "good": first.outcome == "PASSED" or (first.outcome == "WARN" and first.level == "warn"),
        "threshold": first.threshold,
        "value": " to ".join(f"{value:,g}" for value in values[:1] + values[1:][-1:]),
        "failed_rows": sum(failed) if failed else None,
        "detail": first.detail,
        "batches": len(rows),
    }


# --- rejects


def _rejects(rules: Sequence[RejectRule]) -> list[dict[str, Any]]:
    most = max((rule.rows for rule in rules), default=0)
    ordered = sorted(rules, key=lambda rule: (rule.scope, -rule.rows, rule.entity, rule.column))
    return [{"rule": rule, "width": max(share(rule.rows, most), 1)} for rule in ordered]


# --- time


def _steps(batches: Sequence[BatchRow]) -> list[dict[str, Any]]:
    """Seconds of each step over all batches, with its share."""
    spent = {step: sum(row.timings.get(step, 0.0) for row in batches) for step in STEPS}
    whole = sum(spent.values())
    return [
        {"step": step, "seconds": seconds, "share": share(seconds, whole)}
        for step, seconds in spent.items()
        if seconds
    ]


def _timed(batches: Iterable[BatchRow]) -> list[BatchRow]:
    return [row for row in batches if row.finished_at and sum(_of_steps(row.timings).values())]


def _of_steps(timings: Mapping[str, float]) -> dict[str, float]:
    return {step: timings[step] for step in STEPS if timings.get(step)}


def _lanes(batches: Sequence[BatchRow]) -> list[dict[str, Any]]:
    """One lane a batch: its bars in thousandths of the whole time."""
    timed = _timed(batches)
    longest = sorted(timed, key=lambda row: -sum(row.timings.values()))[:_MAX_LANES]
    shown = sorted(longest, key=lambda row: (_began(row), row.id))
    if not shown:
        return []
    start = min(_began(row) for row in shown)
    end = max(row.finished_at for row in shown if row.finished_at)
    whole = max((end - start).total_seconds(), 0.001)
    return [_lane(row, start, whole) for row in shown]


def _began(row: BatchRow) -> datetime:
    assert row.finished_at is not None
    return row.started_at or row.finished_at - timedelta(seconds=sum(row.timings.values()))


def _lane(row: BatchRow, start: datetime, whole: float) -> dict[str, Any]:
    """Waiting between steps is not recorded, so a batch's steps are drawn one behind the other."""
    position = (_began(row) - start).total_seconds()
    bars = []
    for step, seconds in _of_steps(row.timings).items():
        x, width = 1000 * position / whole, max(1000 * seconds / whole, 1.5)
        bars.append({"step": step, "x": round(x, 1), "width": round(width, 1), "seconds": seconds})
        position += seconds
    took = sum(_of_steps(row.timings).values())
    return {"row": row, "bars": bars, "seconds": took}
