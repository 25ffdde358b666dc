"""How far a sync is, as its ledger has it: windows, positions, receipts. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from sinew.engine.session import Endpoint, connect, translated
from sinew.paths import statement


@dataclass(frozen=True)
class WindowStatus:
    """One run's window: half-open, its state, and its rows by entity as the ledger counts them."""

    lower: datetime | None
    upper: datetime
    run_id: str
    state: str
    created_at: datetime
    completed_at: datetime | None
    entities: list[dict[str, Any]]


@dataclass(frozen=True)
class Position:
    """How far a resource or an entity was read that is read since the last run."""

    name: str
    moment: datetime | None
    bookmark: str | None
    set_at: datetime


@dataclass(frozen=True)
class Receipts:
    """Rows of an entity by the API's newest word on them: accepted, refused or unknown."""

    entity: str
    status: str
    rows: int


@dataclass(frozen=True)
class SyncStatus:
    """All three; empty for a sync that was never planned here. The newest windows come first."""

    windows: list[WindowStatus]
    positions: list[Position]
    receipts: list[Receipts]


def sync_status(endpoint: Endpoint, sync: str, most: int = 20) -> SyncStatus:
    """The newest ``most`` windows, all positions, and receipts by status."""
    with (
        connect(endpoint, read_only=True, step="status") as home,
        translated(f"status of {sync}"),
    ):
        if not _planned(home):
            return SyncStatus([], [], [])
        asked = {"mapping": sync, "most": most}
        windows = home.execute(statement("sync/last_windows"), asked).fetchall()
        positions = home.execute(
            "SELECT name, moment, bookmark, set_at FROM sinew.position WHERE mapping = %s ORDER BY 1",
            (sync,),
        ).fetchall()
        receipts = home.execute(statement("sync/receipts"), {"mapping": sync}).fetchall()
    return SyncStatus(
        [WindowStatus(*row) for row in windows],
        [Position(*row) for row in positions],
        [Receipts(*row) for row in receipts],
    )


def last_window_end(endpoint: Endpoint, sync: str) -> datetime | None:
    """The latest end of the sync's complete windows, where the next one begins; None without any."""
    with (
        connect(endpoint, read_only=True, step="plan") as home,
        translated(f"plan {sync}"),
    ):
        if not _planned(home):
            return None
        row = home.execute(statement("sync/window_end"), {"mapping": sync}).fetchone()
    return row[0] if row else None


def _planned(home: psycopg.Connection) -> bool:
    return home.execute("SELECT to_regclass('sinew.window') IS NOT NULL").fetchone() == (True,)
