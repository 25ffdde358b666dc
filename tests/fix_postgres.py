"""Databases for the tests: one PostgreSQL server for the session, fresh databases for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from demo.stack.postgres import EmbeddedPostgres

_numbers = itertools.count(1)

# Small, because several test runs may share a machine; without fsync, because no test crashes this
# server. A test that crashes one starts an EmbeddedPostgres of its own, with the default settings.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_prepared_transactions": "10",
}


@pytest.fixture(scope="session")
def pg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running server; not durable."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), _SETTINGS)
    try:
        server.start()
        yield server
    finally:
        server.kill()


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
