"""The store of tokens in PostgreSQL, shared by all workers of an Airflow installation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors as pg

from sinew.auth.sealing import Sealer
from sinew.auth.store import Slot, StoredToken
from sinew.engine.session import translated
from sinew.errors import ConfigurationError, InterruptedStepError, UnavailableError
from sinew.paths import statement

T = TypeVar("T")

# Longer than a renewal can take with all its retries and time-outs, so that who waits gets the new token.
_LOCK_SECONDS = 180
# How long a received token is tried to be stored before it is given up: it cannot be asked for again.
_SAVE_SECONDS = 30.0
# Only for the transaction, so that a pooler in transaction mode hands nothing of it to others.
_SETTINGS = {
    "lock_timeout": f"{_LOCK_SECONDS}s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "synchronous_commit": "on",
}
_TABLE_LOCK = 7_300_201  # one process at a time makes the table; any constant number does


class PostgresTokenStore:
    """Tokens in ``sinew_auth.token``, encrypted; safe across threads, processes and machines.

    Opens a connection for each use and keeps none, so it survives a fork and is picklable.
    Raises ConfigurationError for a Fernet key that is empty, malformed or not the one that was used.
    """

    def __init__(self, conninfo: str, fernet_key: str) -> None:
        self._conninfo = conninfo
        self._key = fernet_key
        self._sealer = Sealer(fernet_key)

    def __repr__(self) -> str:
        return "PostgresTokenStore(...)"

    def __reduce__(self) -> tuple[Any, ...]:
        return PostgresTokenStore, (self._conninfo, self._key)

    def create_table(self) -> None:
        """Make the schema and table, if they are not there."""
        with _translated(), self._connection() as conn:
            conn.execute("SELECT pg_advisory_xact_lock(%s)", (_TABLE_LOCK,))
            conn.execute(statement("auth/table"))

    def peek(self, key: str) -> StoredToken | None:
        """The token as it is, without the lock."""

        def read() -> Any:
            with self._connection() as conn:
                return conn.execute(statement("auth/peek"), {"key": key}).fetchone()

        with _translated():
            row = self._with_table(read)
        return self._sealer.open(*row) if row else None

    @contextmanager
    def slot(self, key: str) -> Iterator[Slot]:
        """Hold the lock of a token; waits for whoever has it, three minutes at most."""
        with _translated():
            conn, row = self._with_table(lambda: self._locked(key))
        slot = _PostgresSlot(self, conn, key, row)
        try:
            yield slot
        finally:
            # Without a commit: what was not saved leaves no trace.
            conn.close()

    def _locked(self, key: str) -> tuple[psycopg.Connection, Any]:
        conn = self._connection()
        try:
            for name, value in _SETTINGS.items():
                conn.execute("SELECT set_config(%s, %s, true)", (name, value))
            conn.execute(statement("auth/claim"), {"key": key})
            return conn, conn.execute(statement("auth/lock"), {"key": key}).fetchone()
        except BaseException:
            conn.close()
            raise

    def _with_table(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (pg.UndefinedTable, pg.InvalidSchemaName):
            self.create_table()
            return work()

    def _connection(self) -> psycopg.Connection:
        # No prepared statements: a pooler in transaction mode may run the next one elsewhere.
        return psycopg.connect(self._conninfo, prepare_threshold=None, connect_timeout=10)


class _PostgresSlot:
    def __init__(
        self, store: PostgresTokenStore, conn: psycopg.Connection, key: str, row: Any
    ) -> None:
        self._store, self._conn, self._key = store, conn, key
        self._version, self._body, self._age = row
        self._since = time.monotonic()

    def load(self) -> StoredToken | None:
        if self._body is None:
            return None
        age = self._age + time.monotonic() - self._since
        return self._store._sealer.open(self._body, age)

    def save(self, token: StoredToken) -> None:
        self._keep(self._store._sealer.seal(token))

    def delete(self) -> None:
        self._keep(None)

    def _keep(self, body: str | None) -> None:
        """Commit the body; over new connections, if the one with the lock is lost.

        The answer of the authorization server exists nowhere else, and asking again would burn a
        rotated refresh token: so the last effort is made here.
        """
        deadline = time.monotonic() + _SAVE_SECONDS
        conn, pause = self._conn, 0.1
        with _translated():
            while not self._kept(conn, body, last=time.monotonic() > deadline):
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
                conn = self._reconnected(deadline) or conn
            if conn is not self._conn:
                conn.close()
        self._version, self._body = self._version + 1, body
        self._age, self._since = 0.0, time.monotonic()

    def _kept(self, conn: psycopg.Connection, body: str | None, last: bool) -> bool:
        """Whether the body is committed; False when the connection broke and there is time left."""
        values = {"key": self._key, "version": self._version, "body": body}
        try:
            row = conn.execute(statement("auth/save"), values).fetchone()
            conn.commit()
        except psycopg.OperationalError:
            if last:
                raise
            return False
        if row is None:
            raise InterruptedStepError(
                "the connection that held a token's lock was lost while the token was renewed, and another "
                "process stored its own meanwhile, which stands: try again"
            )
        return True

    def _reconnected(self, deadline: float) -> psycopg.Connection | None:
        try:
            return self._store._connection()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            return None


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's errors into ours; they quote neither the key nor the body of a row."""
    with translated("the token store"):
        try:
            yield
        except pg.LockNotAvailable:
            raise UnavailableError(
                f"another process has held the token's lock for {_LOCK_SECONDS} s: look for one that hangs, "
                "and try again"
            ) from None
        except pg.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"the role of the token store's connection may not use it ({error.diag.message_primary}): run "
                "include/sql/auth/table.sql as its owner, GRANT USAGE on schema sinew_auth and SELECT, INSERT, "
                "UPDATE on its table to the role"
            ) from None
