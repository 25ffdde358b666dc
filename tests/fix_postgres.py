"""Databases for the tests: one PostgreSQL server for the session, fresh databases for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from demo.stack.postgres import EmbeddedPostgres

_numbers = itertools.count(1)

# Small, because several test runs may share a machine; commits are not waited for, because no test
# crashes this server. A test that crashes one starts its own, with the default settings.
_SETTINGS = {
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_prepared_transactions": "10",
}


@pytest.fixture(scope="session")
def pg() -> Iterator[EmbeddedPostgres]:
    """A running server, whose last commits a crash would lose."""
    with _folder() as folder:
        yield from _running(EmbeddedPostgres(folder, _SETTINGS))


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder outside pytest's own: each new run of pytest closes that one to the server's user."""
    folder = Path(tempfile.mkdtemp(prefix="sinew-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _running(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


_DEBIAN = Path("/usr/lib/postgresql")


def _system_programs() -> Path:
    """The newest installed major version below the embedded one."""
    found = {int(p.name): p / "bin" for p in _DEBIAN.glob("*") if p.name.isdigit()}
    older = [major for major in found if major < 18 and (found[major] / "initdb").exists()]
    if not older:
        pytest.fail("Missing: the Debian package postgresql, below 18. apt-get install postgresql")
    return found[max(older)]


@pytest.fixture(scope="session")
def system_pg() -> Iterator[EmbeddedPostgres]:
    """A running server of the system's own PostgreSQL: an older version, with ICU and libxml."""
    with _folder() as folder:
        yield from _running(EmbeddedPostgres(folder, _SETTINGS, _system_programs()))


@pytest.fixture
def system_db(system_pg: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo of an empty database on the system's own PostgreSQL."""
    yield from _database(system_pg, "system")


def _database(server: EmbeddedPostgres, name: str) -> Iterator[str]:
    name = f"{name}_{next(_numbers)}"
    server.ensure_database(name)
    try:
        yield server.dsn(name)
    finally:
        server.drop_database(name)


@pytest.fixture
def source_db(pg: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo of an empty database that plays the source."""
    yield from _database(pg, "source")


@pytest.fixture
def home_db(pg: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo of an empty database that plays the target, and so the pipeline's home."""
    yield from _database(pg, "home")


@pytest.fixture
def source(source_db: str) -> Iterator[psycopg.Connection]:
    """An open connection to ``source_db``, not in autocommit."""
    with psycopg.connect(source_db) as conn:
        yield conn


@pytest.fixture
def home(home_db: str) -> Iterator[psycopg.Connection]:
    """An open connection to ``home_db``, not in autocommit."""
    with psycopg.connect(home_db) as conn:
        yield conn
