"""The log of write requests: one row for each that arrived, and what became of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from demo.shop.api.chance import Strike
from demo.shop.api.store import Store
from demo.shop.api.timestamps import now

_LOGGED = "/contacts"


@dataclass
class Arrival:
    """A request as it came in; bodies and clients stay out of its repr."""

    method: str
    path: str
    client: str = field(repr=False)  # a digest of its credentials
    key: str | None
    body: bytes = field(repr=False)
    digest: str
    identity: bytes = field(repr=False)
    strike: Strike = Strike()

    @property
    def logged(self) -> bool:
        """True for writes to the marketing API."""
        return self.method != "GET" and self.path.startswith(_LOGGED)


def log(
    connection: sqlite3.Connection, arrival: Arrival, outcome: str, status: int | None
) -> int | None:
    """Log a request in the caller's transaction; returns the number of its row."""
    if outcome == "applied" and arrival.strike.after:
        outcome = "failed_after"
    spoilt = outcome == "failed_before" or arrival.strike.after
    row: tuple[Any, ...] = (
        now(),
        arrival.method,
        arrival.path,
        arrival.key,
        arrival.digest,
        outcome,
        _sent(arrival.strike.kind, status),
        not spoilt,
    )
    return connection.execute(
        "INSERT INTO request_log (at, method, path, idempotency_key, digest, outcome, status,"
        " delivered) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    ).lastrowid


def _sent(fault: str | None, status: int | None) -> int | None:
    """The status that the client sees when a fault has spoilt the answer."""
    return {"drop_after": None, "error_after": 500}.get(fault or "", status)


def log_refused(store: Store, arrival: Arrival, outcome: str, status: int | None) -> None:
    """Log a write that never came to its work."""
    if arrival.logged:
        with store.writing() as connection:
            log(connection, arrival, outcome, status)
