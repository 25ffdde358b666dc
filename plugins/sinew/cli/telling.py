"""Commands that read the ledger: status, report."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sinew.cli.given import endpoint_of, migration_of, phases_of, pipeline_of
from sinew.cli.syncing import tell_status
from sinew.cli.tables import table
from sinew.engine.phases import PhaseStatus, phase_states, read_report
from sinew.engine.session import Endpoint, connect, translated
from sinew.errors import ConfigurationError
from sinew.paths import statement
from sinew.spec import Migration
from sinew.spec.sync import Sync


def status(options: Namespace) -> int:
    """Print phases, batches, rows, rejects by rule and the last comparisons; of a sync, its windows."""
    pipeline = pipeline_of(options)
    if isinstance(pipeline, Sync):
        return tell_status(pipeline, endpoint_of(pipeline.home_conn), as_json=options.json)
    migration = migration_of(options)
    found = _status(migration, endpoint_of(migration.target.conn))
    if options.json:
        print(json.dumps(found, indent=2, default=str))
    else:
        for line in _told(found):
            print(line)
    return 0


def _status(migration: Migration, home: Endpoint) -> dict[str, Any]:
    planned = phase_states(home, migration.name)
    names = [phase.name for phase in planned]
    return {
        "migration": migration.name,
        "strategy": migration.strategy,
        "phases": [asdict(phase) for phase in planned],
        "rejects": _asked(
            home,
            migration,
            names,
            "rejects",
            ("entity", "column", "rule", "reason", "scope", "rows"),
        ),
        "comparisons": _asked(home, migration, names, "comparisons", ("entity", "name", "equal")),
    }


def _asked(
    endpoint: Endpoint, migration: Migration, phases: list[str], name: str, columns: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Rows of one of the report's statements, for every phase; columns beyond the named are left out."""
    if not phases:
        return []
    with (
        connect(endpoint, read_only=True, step="status") as home,
        translated(f"status of {migration.name}"),
    ):
        return [
            {"phase": phase, **dict(zip(columns, row, strict=False))}
            for phase in phases
            for row in home.execute(
                statement(f"report/{name}"), {"mapping": migration.name, "phase": phase}
            )
        ]


def _told(found: dict[str, Any]) -> Iterator[str]:
    yield f"Migration {found['migration']}, {found['strategy'].replace('_', ' ')}"
    if not found["phases"]:
        yield "It was never planned here: `sinew audit` tells what it would move, `sinew run` moves it."
        return
    yield ""
    yield from table(
        ["phase", "state", "batches", "loaded", "rejected", "completed"],
        [_phase(p) for p in found["phases"]],
    )
    if found["rejects"]:
        yield "\nRejects"
        rows = [
            tuple(r[k] for k in ("phase", "entity", "scope", "column", "rule", "rows"))
            for r in found["rejects"]
        ]
        yield from table(["phase", "entity", "scope", "column", "rule", "rows"], rows)
    if found["comparisons"]:
        yield "\nLast comparisons"
        rows = [
            (c["phase"], c["entity"] or "-", c["name"], "equal" if c["equal"] else "DIFFERENT")
            for c in found["comparisons"]
        ]
        yield from table(["phase", "entity", "compared", "result"], rows)


def _phase(phase: dict[str, Any]) -> tuple[object, ...]:
    batches = ", ".join(f"{count} {state}" for state, count in phase["batches"].items()) or "none"
    at = phase["completed_at"]
    when = at.isoformat(sep=" ", timespec="seconds") if at else "-"
    return phase["name"], phase["state"], batches, phase["loaded"], phase["rejected"], when


def report(options: Namespace) -> int:
    """Print a phase's newest report, or write it to a file."""
    migration = migration_of(options)
    home = endpoint_of(migration.target.conn)
    number = _newest(migration, home, options.phase)
    html = read_report(home, migration.name, number) or ""
    if options.output is None:
        sys.stdout.write(html)
        return 0
    try:
        Path(options.output).write_text(html, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{options.output} cannot be written: {error.strerror}: name another file in --output"
        ) from None
    print(f"Report {number} of {migration.name} is in {options.output}")
    return 0


def _newest(migration: Migration, home: Endpoint, phase: str | None) -> int:
    wanted = phases_of(migration, [phase] if phase else None)
    states: list[PhaseStatus] = phase_states(home, migration.name)
    reports = [item.report for item in states if item.name in wanted and item.report is not None]
    if not reports:
        raise ConfigurationError(
            f"there is no report of {migration.name}, phase {', '.join(wanted)}: one is made when a "
            "phase was moved and compared; see `sinew status`"
        )
    return max(reports)
