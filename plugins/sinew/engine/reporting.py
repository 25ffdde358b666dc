"""Gather a phase's report from the ledger and keep it there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from sinew.engine import ledger, report
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError
from sinew.paths import statement
from sinew.spec.pipeline import Pipeline


def store_report(context: Context, phase: str, run_id: str) -> int:
    """Make the report of a phase as the ledger has it now, keep it there, and return its number."""
    with (
        connect(context.home, step="report") as home,
        translated(f"report {context.migration.name} phase {phase}"),
    ):
        data = gather(home, context, phase, run_id)
        html, body = report.build_report(data)
        row = home.execute(
            "INSERT INTO sinew.report (mapping, phase, run_id, html, body) VALUES (%s, %s, %s, %s, %s) RETURNING id",
            (context.migration.name, phase, run_id, html, json.dumps(body, default=str)),
        ).fetchone()
    assert row is not None
    return int(row[0])


def gather(
    home: psycopg.Connection, context: Context, phase: str, run_id: str
) -> report.ReportData:
    """Everything that the report of one phase tells."""
    migration = context.migration
    asked = {"mapping": migration.name, "phase": phase}
    rows = _ask(home, "phase", asked)
    if not rows:
        raise ConfigurationError(
            f"phase {phase} of {migration.name} was never planned: run its plan task"
        )
    position, state, started, completed, fingerprint = rows[0]
    compared = _ask(home, "comparisons", asked)
    batches = tuple(_batch(*row) for row in _ask(home, "batches", asked))
    return report.ReportData(
        mapping=migration.name,
        description=migration.description,
        strategy=migration.strategy,
        phase=phase,
        phase_position=position + 1,
        phase_count=len(migration.phases),
        phase_state=state,
        run_id=run_id,
        fingerprint=fingerprint,
        source=f"{context.source.conn_id} ({context.source.address})",
        target=f"{context.home.conn_id} ({context.home.address})",
        made_at=datetime.now(UTC),
        started_at=started,
        completed_at=completed,
        snapshot=next((batch.source_snapshot for batch in batches if batch.source_snapshot), None),
        entities=tuple(_entity(migration, row) for row in _ask(home, "entities", asked)),
        batches=batches,
        checks=tuple(_check(*row) for row in _ask(home, "checks", asked)),
        rejects=tuple(_reject(*row) for row in _ask(home, "rejects", asked)),
        comparisons=tuple(
            report.ComparisonRow(entity, side, equal, result)
            for entity, side, equal, result in compared
            if entity is not None
        ),
        business=tuple(
            report.BusinessRow(name, equal, result)
            for entity, name, equal, result in compared
            if entity is None
        ),
        approvals=tuple(report.ApprovalRow(*row) for row in _ask(home, "approvals", asked)),
        hash_modes=_hash_modes(home, migration),
    )


def _ask(home: psycopg.Connection, name: str, asked: dict[str, str]) -> Sequence[tuple[Any, ...]]:
    return home.execute(statement(f"report/{name}"), asked).fetchall()


def _entity(migration: Pipeline, row: tuple[Any, ...]) -> report.EntityRow:
    # Rows that another phase accounts for were read here, but they are not this phase's.
    entity, batches, read, loaded, rejected, kept, elsewhere, *rest = row
    table = f"{migration.target.schema_name}.{migration.entities[entity].into}"
    return report.EntityRow(
        entity, table, batches, read - elsewhere, loaded, rejected, kept, 0, *rest
    )


def _batch(
    id_: int,
    entity: str,
    state: str,
    attempt: int,
    source_rows: int,
    timings: dict[str, float],
    finished_at: datetime,
    error: str | None,
    snapshot: str | None,
) -> report.BatchRow:
    return report.BatchRow(
        id_,
        entity,
        state,
        attempt,
        source_rows,
        timings,
        finished_at,
        error=error,
        source_snapshot=snapshot,
    )


def _check(entity: str, batch_id: int, check: dict[str, Any]) -> report.CheckRow:
    return report.CheckRow(
        entity,
        batch_id,
        check["name"],
        check["outcome"],
        check["level"],
        check["column"],
        check["value"],
        check["threshold"],
        check["failed_rows"],
        check.get("detail", ""),
    )


def _reject(
    entity: str,
    column: str,
    rule: str,
    reason: str,
    scope: str,
    rows: int,
    samples: list[list[str]] | None,
) -> report.RejectRule:
    shown = tuple(report.RejectSample(key, value) for key, value in samples or [])
    return report.RejectRule(entity, column, rule, reason, scope, rows, shown)


def _hash_modes(home: psycopg.Connection, migration: Pipeline) -> dict[str, str]:
    return {
        name: ledger.planned(home, migration, name).plan.facts.hash_mode
        for name in migration.entity_order
    }
