"""The data behind the shop's and the marketing API: one SQLite file that any thread may use."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from demo.shop.api.timestamps import now

SCHEMA = Path(__file__).with_name("schema.sql")
COLUMNS = "id, created_at, updated_at, body"
_BUSY_SECONDS = 30.0
_REMEMBERED = 8  # lists of keys a thread keeps; a walk through pages needs one


class _Local(threading.local):
    """What each thread has for itself."""

    connection: sqlite3.Connection | None = None
    keys: OrderedDict[Any, array[int]]


class Store:
    """Orders, customers, products, contacts, and the log of write requests.

    Without a path the file is temporary and goes with ``close``. WAL lets readers go on beside one
    writer; nothing is synced to disk, since a killed process loses nothing by that.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._folder = None if path else Path(tempfile.mkdtemp(prefix="shop-"))
        self.path = path or Path(str(self._folder)) / "shop.sqlite"
        self._local = _Local()
        self._connections: list[sqlite3.Connection] = []
        self._write_lock = threading.RLock()
        self.connection.executescript(SCHEMA.read_text(encoding="utf-8"))

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's own connection, in autocommit."""
        if self._local.connection is None:
            self._local.connection = self._connect()
            self._local.keys = OrderedDict()
        return self._local.connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA mmap_size = 1073741824")
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close every thread's connection; a temporary file goes."""
        for connection in self._connections:
            connection.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction of this thread, committed at the end or rolled back by an exception."""
        connection = self.connection
        with self._write_lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(statement, parameters).fetchall()

    def value(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row; None without a row."""
        row = self.connection.execute(statement, parameters).fetchone()
        return row[0] if row else None

    def keys(self, statement: str, parameters: Sequence[Any] = ()) -> array[int]:
        """The integers of a query's only column, remembered until anything in the file changes.

        Page numbers and offsets thus cost the same on the last page as on the first.
        """
        connection = self.connection
        # The pragma sees the commits of all other connections, total_changes sees our own.
        version = connection.execute("PRAGMA data_version").fetchone()[0], connection.total_changes
        known, wanted = self._local.keys, (version, statement, tuple(parameters))
        if wanted not in known:
            found = connection.execute(statement, parameters)
            known[wanted] = array("q", (row[0] for row in found))
            while len(known) > _REMEMBERED:
                known.popitem(last=False)
        known.move_to_end(wanted)
        return known[wanted]

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows to one of the tables, in the order of its columns, in one transaction."""
        with self.writing() as connection:
            width = len(connection.execute(f"PRAGMA table_info({table})").fetchall())
            marks = ", ".join("?" * width)
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def change_order(self, order_id: int, member: str, value: str, at: str | None = None) -> None:
        """Set a member of one order to a JSON text, as of ``at`` (now); the rest stays to the byte."""
        at = at or now()
        with self.writing() as connection:
            connection.execute(
                "UPDATE orders SET updated_at = ?, body ="
                " json_set(body, '$.' || ?, json(?), '$.updated_at', ?) WHERE id = ?",
                (at, member, value, at, order_id),
            )
            connection.execute(
                "UPDATE orders SET status = json_extract(body, '$.status'),"
                " customer_id = json_extract(body, '$.customer_id') WHERE id = ?",
                (order_id,),
            )

    def delete_orders(self, ids: Iterable[int]) -> None:
        """Take orders away."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM orders WHERE id = ?", [(n,) for n in ids])
