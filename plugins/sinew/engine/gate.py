"""The gate: what a contract says about a staging table, by outcomes alone.

Soda calls a contract fine when checks were not evaluated, when there were none, and when its logger
kept quiet about a dead server. So only results count: as many as were compiled, each of them good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import psycopg
from psycopg import sql

from sinew.compile.contract import (
    DATA_SOURCE,
    CompiledCheck,
    CompiledContract,
    StagingFacts,
    contract_fingerprint,
)
from sinew.engine.session import Endpoint, connect, describe, translated
from sinew.errors import ConfigurationError, FatalError, RetriableError, UnavailableError

# A row of a sample shows at most so much of a value that is not personal.
SHOWN_CHARACTERS = 40
MASKED = "***"

# Enough to sort the keys of a million rows in memory; compiling a plan costs more than these run.
_SETTINGS = {"work_mem": "128MB", "jit": "off", "enable_presorted_aggregate": "off"}
_COUNTS = ("failed_rows_count", "missing_count", "invalid_count", "duplicate_count")


@dataclass(frozen=True)
class CheckOutcome:
    """What one check found.

    ``outcome`` is PASSED, WARN, FAILED, NOT_EVALUATED, or MISSING where Soda gave no result at all.
    ``detail`` says more than numbers can, and never holds a row's value.
    """

    name: str
    kind: str
    column: str | None
    outcome: str
    level: str
    value: float | None
    threshold: str
    failed_rows: int | None
    definition: str
    detail: str = ""

    @property
    def good(self) -> bool:
        """Whether a batch may pass with it."""
        return self.outcome == "PASSED" or (self.outcome == "WARN" and self.level == "warn")

    def __str__(self) -> str:
        value = "no value" if self.value is None else f"{self.value:g}"
        text = f"{self.outcome} {self.name}: {value}, must be {_must(self.threshold)}"
        return f"{text} ({self.detail})" if self.detail else text


@dataclass(frozen=True)
class GateResult:
    """The verdict on one batch. ``notes`` are database errors that kept checks from a result."""

    checks: tuple[CheckOutcome, ...]
    expected_checks: int
    contract_fingerprint: str
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Every compiled check gave a result, there was at least one, and each is good."""
        complete = len(self.checks) == self.expected_checks >= 1
        return complete and not self.notes and all(check.good for check in self.checks)

    def with_check(self, check: CheckOutcome) -> GateResult:
        """The same with one more check that was made elsewhere."""
        return replace(self, checks=(*self.checks, check), expected_checks=self.expected_checks + 1)

    def summary(self) -> str:
        """What failed, with counts; holds no row's value."""
        bad = [check for check in self.checks if not check.good]
        warned = [check for check in self.checks if check.good and check.outcome == "WARN"]
        what = "passed" if self.passed else "failed"
        head = f"gate {what}: {len(self.checks) - len(bad)} of {self.expected_checks} checks hold"
        return "; ".join([head, *map(str, bad), *map(str, warned), *self.notes])


def evaluate(home: Endpoint, contract: CompiledContract) -> GateResult:
    """Judge a staging table; only reads.

    Raises UnavailableError or InterruptedStepError when the server goes, ConfigurationError when
    Soda does not accept the contract or a privilege is missing.
    """
    began = monotonic()
    about = f"check {contract.staging.name}"
    with connect(home, read_only=True, step="check") as conn:
        with translated(about):
            _tune(conn)
        results, errors = _verify(conn, contract, about)
        _raise_unless_judged(conn, errors, about)
    checks = tuple(_outcome(check, results) for check in contract.checks)
    notes = [*dict.fromkeys(describe(error) for error in errors)]
    if results.keys() - {check.identity for check in contract.checks}:
        notes.append("there are results of checks that were not compiled")
    return GateResult(
        checks, len(contract.checks), contract.fingerprint, monotonic() - began, tuple(notes)
    )


def evaluate_empty(user: Mapping[str, Any] | None, rows: int = 0) -> GateResult:
    """The verdict on a batch that should have no rows, by our own count of them.

    Soda evaluates no aggregate over no rows, and calls that fine.
    """
    check = CheckOutcome(
        name="the batch is empty, as counted",
        kind="row_count",
        column=None,
        outcome="FAILED" if rows else "PASSED",
        level="fail",
        value=float(rows),
        threshold="must_be 0",
        failed_rows=rows,
        definition="row_count: 0",
    )
    return GateResult((check,), 1, contract_fingerprint(user), 0.0)


def masked_samples(
    conn: psycopg.Connection,
    contract: CompiledContract,
    result: GateResult,
    pii: Collection[str] = (),
    limit: int = 5,
) -> list[dict[str, Any]]:
    """Up to ``limit`` rows for each failed check that is about rows: its key and its columns.

    Values of ``pii`` columns are masked; of others the first 40 characters are shown. A check's own
    SQL that fails gives no rows.
    """
    failed = {
        (check.name, check.definition)
        for check in result.checks
        if check.outcome in ("FAILED", "WARN")
    }
    samples = []
    for check in contract.checks:
        if (check.name, check.definition) in failed and check.failing is not None:
            rows = _sample(conn, contract.staging, check, frozenset(pii), limit)
            samples.append({"check": check.name, "column": check.column, "rows": rows})
    return samples


def _tune(conn: psycopg.Connection) -> None:
    for name, value in _SETTINGS.items():
        conn.execute("SELECT set_config(%s, %s, false)", (name, value))


def _verify(
    conn: psycopg.Connection, contract: CompiledContract, about: str
) -> tuple[dict[tuple[Any, ...], list[Any]], list[psycopg.Error]]:
    """Soda's results by the identity of their check."""
    if not contract.checks:
        return {}, []
    # Soda takes seconds to import, and only a worker that judges needs it.
    from sinew.engine.soda_session import verify

    results, errors = verify(conn, DATA_SOURCE, contract.text, about)
    found: dict[tuple[Any, ...], list[Any]] = {}
    for result in results:
        check = result.check
        found.setdefault((check.column_name, check.type, check.qualifier), []).append(result)
    return found, errors


def _raise_unless_judged(
    conn: psycopg.Connection, errors: Iterable[psycopg.Error], about: str
) -> None:
    """A server that went, or a privilege that is missing, is no verdict on the data."""
    for error in errors:
        try:
            with translated(about):
                raise error
        except RetriableError:
            raise
        except (ConfigurationError, FatalError):
            if error.sqlstate == "42501":
                raise
    if conn.broken or conn.closed:
        raise UnavailableError(f"{about}: the connection broke. It is tried again")


def _outcome(check: CompiledCheck, results: Mapping[tuple[Any, ...], list[Any]]) -> CheckOutcome:
    given = results.get(check.identity, [])
    result = given[0] if len(given) == 1 else None
    diagnostics = (getattr(result, "diagnostic_metric_values", None) or {}) if result else {}
    failed = next((diagnostics[key] for key in _COUNTS if diagnostics.get(key) is not None), None)
    return CheckOutcome(
        name=check.name,
        kind=check.kind,
        column=check.column,
        outcome=result.outcome.name if result else "MISSING",
        level=_level(check),
        value=_number(result.threshold_value) if result else None,
        threshold=check.threshold,
        failed_rows=None if failed is None else int(failed),
        definition=check.definition,
        detail=_schema_detail(result) if check.kind == "schema" and result else "",
    )


def _level(check: CompiledCheck) -> str:
    """A check with a second, softer threshold may warn, though its own level is fail."""
    softer = check.body.get("threshold", {}).get("additional", {}).get("level") == "warn"
    return "warn" if softer else check.level


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _schema_detail(result: Any) -> str:
    parts = [
        f"missing: {', '.join(getattr(result, 'expected_column_names_not_actual', []))}",
        f"not expected: {', '.join(getattr(result, 'actual_column_names_not_expected', []))}",
        "other type: "
        + ", ".join(
            f"{found.column} is {found.get_actual()} instead of {found.get_expected()}"
            for found in getattr(result, "column_data_type_mismatches", [])
        ),
    ]
    return "; ".join(part for part in parts if not part.endswith(": "))


def _must(threshold: str) -> str:
    return threshold.removeprefix("must_be ").removeprefix("must_be_").replace("_", " ")


def _sample(
    conn: psycopg.Connection,
    staging: StagingFacts,
    check: CompiledCheck,
    pii: frozenset[str],
    limit: int,
) -> list[dict[str, str | None]]:
    names = list(dict.fromkeys([*staging.key, *check.touches]))
    if not names:
        names = [column.name for column in staging.columns]
    # A masked value does not even leave the database.
    shown = sql.SQL(", ").join(_shown(name, name in pii) for name in names)
    query = sql.SQL("SELECT {} FROM {} WHERE {} LIMIT {}").format(
        shown, staging.relation, check.failing or sql.SQL("false"), limit
    )
    try:
        with conn.transaction():
            rows = conn.execute(query).fetchall()
    except psycopg.Error:
        if conn.broken:
            raise
        return []
    return [dict(zip(names, row, strict=True)) for row in rows]


def _shown(name: str, masked: bool) -> sql.Composable:
    column = sql.Identifier(name)
    if masked:
        return sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(column, MASKED)
    return sql.SQL("left({}::text, {})").format(column, SHOWN_CHARACTERS)
