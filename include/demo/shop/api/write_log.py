"""The log of write requests: one row for each that arrived, and what became of it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from demo.shop.api.chance import Strike
from demo.shop.api.store import Store
from demo.shop.api.timestamps import now

WRITES = ("POST", "PUT", "PATCH", "DELETE")
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
    owner: str = ""  # whose idempotency keys they are: the same after a token was renewed
    strike: Strike = Strike()

    @property
    def fingerprint(self) -> str:
        """What an idempotency key stands for: the same request has the same one."""
        return hashlib.sha256(f"{self.method} {self.path} {self.digest}".encode()).hexdigest()

    @property
    def logged(self) -> bool:
        """True for writes to the marketing API."""
        return self.method in WRITES and self.path.startswith(_LOGGED)


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


@dataclass(frozen=True)
class Entry:
    """One write request of the log."""

    id: int
    at: str
    method: str
    path: str
    key: str | None
    digest: str
    outcome: str
    status: int | None
    delivered: int  # 0 or 1


def entries(store: Store) -> list[Entry]:
    """The whole log, in the order of arrival."""
    rows = store.rows(
        "SELECT id, at, method, path, idempotency_key, digest, outcome, status, delivered"
        " FROM request_log ORDER BY id"
    )
    return [Entry(*row) for row in rows]


def times_applied(store: Store) -> Counter[str]:
    """How often each contact was really changed: what a replay answers is no change."""
    rows = store.rows(
        "SELECT external_id, count(*) FROM contact_change WHERE error IS NULL GROUP BY external_id"
    )
    return Counter(dict(rows))
