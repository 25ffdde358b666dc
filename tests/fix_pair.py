"""A source and a target made for one test, and a mapping between them that may change from run to run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sinew.engine.driver import RunResult, run
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.spec.reader import parse_mapping

HEAD = """\
migration: pair
source: {conn: old}
target: {conn: new, schema: t}
max_rejects: 0.9
"""


class Pair:
    """Two databases; ``mapping`` is what follows the head of a mapping file."""

    def __init__(self, source: str, home: str, include: Path) -> None:
        self.source, self.home = Endpoint("old", source), Endpoint("new", home)
        self.include = include
        self.mapping = ""

    def make(self, source: str, target: str, mapping: str) -> None:
        """Make the tables of both sides and say what becomes of which."""
        self.old(source)
        self.new("CREATE SCHEMA t")
        self.new(target)
        self.mapping = mapping

    def context(self) -> Context:
        """A context with the mapping as it is now."""
        mapping = parse_mapping(HEAD + self.mapping, include=self.include)
        return Context(mapping, self.source, self.home, 1)

    def run(self) -> RunResult:
        """Move what is missing."""
        return run(self.context())

    def old(self, query: str) -> list[tuple[object, ...]]:
        """Run statements on the source."""
        return _run(self.source, query)

    def new(self, query: str) -> list[tuple[object, ...]]:
        """Run statements on the target."""
        return _run(self.home, query)


def _run(endpoint: Endpoint, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(endpoint.conninfo, autocommit=True) as conn:
        cursor = conn.execute(query)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def pair(
    source_db: str, home_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pair]:
    """Two empty databases."""
    for folder in ("sql", "mappings/python"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
    yield Pair(source_db, home_db, tmp_path)
