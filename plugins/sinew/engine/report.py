"""What a phase's report tells, as plain values, and the verdict that follows from them.

Everything here comes out of the ledger as it is; values of personal columns are masked there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class EntityRow:
    """One entity's account in a phase: rows, bytes, gates of its batches, seconds of their steps.

    ``elsewhere`` are rows that were read here but belong to another phase; ``deleted`` left the
    source since an earlier load.
    """

    entity: str
    table: str
    batches: int
    source_rows: int
    loaded: int
    rejected: int
    kept: int = 0
    elsewhere: int = 0
    deleted: int = 0
    bytes: int = 0
    gates_passed: int = 0
    gates_failed: int = 0
    seconds: float = 0.0

    @property
    def unaccounted(self) -> int:
        """Source rows that nobody can tell about; 0 in a complete phase."""
        return self.source_rows - self.loaded - self.rejected - self.kept - self.elsewhere


@dataclass(frozen=True)
class BatchRow:
    """One batch; ``timings`` are seconds by step. Without ``started_at`` its steps ran in a row."""

    id: int
    entity: str
    state: str
    attempt: int
    source_rows: int
    timings: Mapping[str, float]
    finished_at: datetime | None
    started_at: datetime | None = None
    error: str | None = None
    source_snapshot: str | None = None


@dataclass(frozen=True)
class CheckRow:
    """The outcome of one gate check on one batch."""

    entity: str
    batch_id: int
    name: str
    outcome: str
    level: str = "fail"
    column: str | None = None
    value: float | None = None
    threshold: str = ""
    failed_rows: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class RejectSample:
    """One rejected row or value: the source key as text, and the value, masked when personal."""

    source_key: str
    value: str | None


@dataclass(frozen=True)
class RejectRule:
    """All rejects of one entity, column and rule; scope is row or value."""

    entity: str
    column: str
    rule: str
    reason: str
    scope: str
    rows: int
    samples: tuple[RejectSample, ...] = ()


@dataclass(frozen=True)
class ComparisonRow:
    """One recorded comparison: ``side`` is source or target, ``result`` a Comparison as JSON."""

    entity: str
    side: str
    equal: bool
    result: Json


@dataclass(frozen=True)
class BusinessRow:
    """One recorded business check; ``result`` is a BusinessResult as JSON."""

    name: str
    equal: bool
    result: Json


@dataclass(frozen=True)
class ApprovalRow:
    """Who decided what about a phase."""

    person: str
    decision: str
    decided_at: datetime


@dataclass(frozen=True)
class ReportData:
    """Everything that the report of one phase tells."""

    mapping: str
    description: str
    strategy: str
    phase: str
    phase_position: int
    phase_count: int
    phase_state: str
    run_id: str
    fingerprint: str
    source: str
    target: str
    made_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    snapshot: str | None
    entities: tuple[EntityRow, ...]
    batches: tuple[BatchRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    rejects: tuple[RejectRule, ...] = ()
    comparisons: tuple[ComparisonRow, ...] = ()
    business: tuple[BusinessRow, ...] = ()
    approvals: tuple[ApprovalRow, ...] = ()
    hash_modes: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """What keeps the phase from being complete, each in a sentence; empty when it is."""
        return tuple(_missing(self))

    @property
    def complete(self) -> bool:
        """Whether everything was moved, gated and proved."""
        return not self.missing


def _missing(data: ReportData) -> Iterator[str]:
    reasons = list(_reasons(data))
    yield from reasons
    if not reasons and data.phase_state != "complete":
        yield f"the phase is {data.phase_state}: it was not closed yet"


def _reasons(data: ReportData) -> Iterator[str]:
    yield from _unfinished(data)
    for row in data.entities:
        if row.unaccounted:
            rows = plural(row.unaccounted, "source row")
            yield f"{row.entity}: not accounted for: {rows}"
    yield from _unproved(data)
    for check in data.business:
        if not check.equal:
            found = plural(check.result.get("difference_count", 0), "difference")
            yield f"{check.name}: {found} between source and target"


def _unfinished(data: ReportData) -> Iterator[str]:
    for batch in data.batches:
        if batch.state not in ("validated", "stale"):
            what = "its gate failed" if batch.state == "gate_failed" else f"it is {batch.state}"
            yield f"{batch.entity}: batch {batch.id} is not validated, {what}"


def _unproved(data: ReportData) -> Iterator[str]:
    for row in data.comparisons:
        if not row.equal:
            sides = "source and row ledger" if row.side == "source" else "row ledger and target"
            yield f"{row.entity}: {sides} differ in {differing(row)}"
    proved = {(row.entity, row.side) for row in data.comparisons}
    for entity in data.entities:
        if not {(entity.entity, "source"), (entity.entity, "target")} <= proved:
            yield f"{entity.entity}: it was not compared with source and target yet"


def differing(row: ComparisonRow) -> str:
    """How many rows a comparison named; more, where it stopped at so many."""
    found = plural(len(row.result.get("differences", ())), "row")
    return found if row.result.get("complete", True) else f"more than {found}"


def plural(number: int, word: str) -> str:
    """1 row, 2,000 rows; 1 batch, 2 batches."""
    ending = "" if number == 1 else "es" if word.endswith("ch") else "s"
    return f"{number:,} {word}{ending}"


def build_report(data: ReportData) -> tuple[str, dict[str, Any]]:
    """The report as one HTML file that needs nothing else, and as JSON (plain values only)."""
    from sinew.engine.report_html import render

    return render(data), as_json(data)


def as_json(data: ReportData) -> dict[str, Any]:
    """The report's values with the verdict and the totals; times are ISO texts."""
    body: dict[str, Any] = _plain(asdict(data))
    totals = {
        name: sum(getattr(row, name) for row in data.entities)
        for name in ("source_rows", "loaded", "rejected", "kept", "elsewhere", "bytes")
    }
    verdict = {"complete": data.complete, "missing": list(data.missing)}
    return {"verdict": verdict, "totals": totals, **body}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
