"""One batch in the ledger: holding it for a step, claiming it, moving it to its next state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import args_row

from sinew.compile.bounds import Key, Range
from sinew.engine.session import drop_tables
from sinew.errors import ConfigurationError, FencedError, InterruptedStepError
from sinew.paths import statement

# First halves of two-part advisory lock keys, so that other users of the database do not meet ours.
BATCH_LOCK = 0x53494E45
ENTITY_LOCK = 0x53494E46
MAPPING_LOCK = 0x53494E47
LANE_LOCK = 0x53494E48
FETCH_LOCK = 0x53494E49

# A batch's way; each step takes it from one of these states to the next.
WAY = ("planned", "extracted", "transformed", "checked", "loaded", "validated")


@dataclass(frozen=True)
class Batch:
    """A batch as the ledger has it. Hashes are sums of 64-bit row hashes, as exact numbers."""

    id: int
    mapping: str
    fingerprint: str
    entity: str
    entity_fingerprint: str
    phase: str
    kind: str
    lower: list[str] | None
    upper: list[str] | None
    state: str
    attempt: int
    gate_attempt: int | None
    source_snapshot: str | None
    source_rows: int | None
    elsewhere_rows: int | None
    staged_rows: int | None
    rejected_rows: int | None
    source_hash: Decimal | None
    staging_hash: Decimal | None
    window_id: int | None

    @property
    def range(self) -> Range:
        """The batch's part of the key space."""
        return Range(self.kind, _key(self.lower), _key(self.upper))

    @property
    def title(self) -> str:
        """How messages name the batch."""
        where = self.phase
        if self.kind == "window":
            where = f"{_moment(self.lower)} to {_moment(self.upper)}"
        return f"{self.mapping}/{self.entity} batch {self.id} ({where})"


def _moment(bound: list[str] | None) -> str:
    return bound[0].replace(" ", "T") if bound else "the beginning"


def _key(values: list[str] | None) -> Key | None:
    return tuple(values) if values is not None else None


def get_batch(home: psycopg.Connection, batch_id: int) -> Batch:
    """Read one batch; a batch that does not exist is a mistake of the caller."""
    cursor = home.cursor(row_factory=args_row(Batch))
    batch = cursor.execute(statement("batch/get"), {"id": batch_id}).fetchone()
    if batch is None:
        raise ConfigurationError(
            f"batch {batch_id} is not in the ledger of this database: plan the phase again"
        )
    return batch


@contextmanager
def held(home: psycopg.Connection, batch_id: int) -> Iterator[Batch]:
    """Hold a batch for one step: nobody else works on it, and an earlier holder can no longer commit.

    A session lock, because a step spans several transactions; it goes with the session, so a killed worker
    leaves none behind.
    """
    try:
        home.execute("SELECT pg_advisory_lock(%s, %s)", (BATCH_LOCK, batch_id))
    except psycopg.errors.LockNotAvailable:
        raise InterruptedStepError(
            f"batch {batch_id} is held by another task for longer than the lock time-out"
        ) from None
    try:
        claim(home, batch_id)
        yield get_batch(home, batch_id)
    finally:
        if not home.closed and not home.broken:
            home.execute("SELECT pg_advisory_unlock(%s, %s)", (BATCH_LOCK, batch_id))


def claim(home: psycopg.Connection, batch_id: int) -> None:
    """Give the batch a new attempt number; every earlier one is fenced off."""
    home.execute(statement("batch/claim"), {"id": batch_id})


def advance(
    home: psycopg.Connection, batch: Batch, state: str, step: str, seconds: float, **values: Any
) -> None:
    """Move the batch to ``state`` inside the caller's transaction, which commits the work with its record."""
    parameters = {
        "id": batch.id,
        "attempt": batch.attempt,
        "state": state,
        "step": step,
        "seconds": round(seconds, 3),
        "values": json.dumps(values, default=str),
    }
    if home.execute(statement("batch/advance"), parameters).fetchone() is None:
        raise FencedError(
            f"{batch.title}: another attempt has taken over; this one leaves no trace"
        )


def make_anew(
    home: psycopg.Connection,
    batch: Batch,
    tables: Sequence[sql.Identifier],
    creating: Sequence[sql.Composed],
) -> None:
    """Drop a batch's tables and make them anew, empty, in a transaction of their own.

    PostgreSQL 18 does not start again after a crash that falls together with the rollback of a
    transaction that made an unlogged table: "could not create file: File exists". So none is made
    in a transaction that then works for minutes.
    """
    with home.transaction():
        drop_tables(home, *tables)
        for statement_ in creating:
            home.execute(statement_)
        # Last, because an earlier holder may wait for this row with the tables in its hands.
        hold_still(home, batch)


def hold_still(home: psycopg.Connection, batch: Batch) -> None:
    """Keep other attempts out until the caller's transaction ends; refuse when one has taken over already."""
    held = home.execute(
        "SELECT FROM sinew.batch WHERE id = %s AND attempt = %s FOR NO KEY UPDATE",
        (batch.id, batch.attempt),
    ).fetchone()
    if held is None:
        raise FencedError(
            f"{batch.title}: another attempt has taken over; this one leaves no trace"
        )


def set_state(home: psycopg.Connection, batch: Batch, state: str) -> None:
    """Move the batch to ``state`` without any other record."""
    done = home.execute(
        "UPDATE sinew.batch SET state = %s, updated_at = now() WHERE id = %s AND attempt = %s RETURNING id",
        (state, batch.id, batch.attempt),
    ).fetchone()
    if done is None:
        raise FencedError(
            f"{batch.title}: another attempt has taken over; this one leaves no trace"
        )


def note_failure(home: psycopg.Connection, batch: Batch, error: str) -> None:
    """Remember in the ledger why a step failed, for the status and the report."""
    home.execute(
        statement("batch/fail"), {"id": batch.id, "attempt": batch.attempt, "error": error[:2000]}
    )
