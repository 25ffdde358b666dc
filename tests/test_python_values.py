"""What a mapping's Python function returns: one value for each row it was given, or an error that says so."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from sinew.engine.driver import run
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError
from sinew.spec.reader import parse_mapping

MODULE = """
import numpy as np
import pandas as pd

def tenfold(frame):
    return frame["N"] * 10

def sorted_by_size(frame):
    return frame.sort_values("N", ascending=False)["N"] * 10

def of_another_index(frame):
    result = frame["N"] * 10
    result.index += 1
    return result

def a_frame(frame):
    return frame

def a_text(frame):
    return "x" * len(frame)

def too_few(frame):
    return frame["N"].iloc[1:]

def fails_for_two(frame):
    if (frame["N"] == 2).any():
        raise ValueError("2")
    return frame["N"]

def odd_values(frame):
    return pd.Series([{"a": [1]}, np.array([1, 2]), "a\\0b", b"\\x00\\xff", 1e300][: len(frame)])
"""

MAPPING = """
migration: shop
source: {{conn: old}}
target: {{conn: new, schema: shop}}
max_rejects: 9
entities:
  things:
    from: THINGS
    key: ["N"]
    columns:
      n: {{key: copy}}
      v: {{python: "made:{function}", from: ["N"]}}
"""


@pytest.fixture
def things(
    source_db: str, home_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str, Path]:
    """Five rows to move, and the module that makes a column of them."""
    (tmp_path / "mappings" / "python").mkdir(parents=True)
    (tmp_path / "mappings" / "python" / "made.py").write_text(MODULE)
    monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
    with psycopg.connect(source_db) as source, psycopg.connect(home_db) as home:
        source.execute('CREATE TABLE "THINGS" ("N" integer PRIMARY KEY)')
        source.execute('INSERT INTO "THINGS" SELECT generate_series(1, 5)')
        home.execute("CREATE SCHEMA shop")
        home.execute("CREATE TABLE shop.things (n integer PRIMARY KEY, v text)")
    return source_db, home_db, tmp_path


def moved(things: tuple[str, str, Path], function: str) -> dict[int, str | None]:
    source, home, include = things
    mapping = parse_mapping(MAPPING.format(function=function), include=include)
    run(Context(mapping, Endpoint("old", source), Endpoint("new", home), 1))
    with psycopg.connect(home) as conn:
        return dict(conn.execute("SELECT n, v FROM shop.things").fetchall())


def test_each_row_gets_its_own_value(things: tuple[str, str, Path]) -> None:
    assert moved(things, "tenfold") == {n: str(10 * n) for n in range(1, 6)}


@pytest.mark.parametrize("function", ["sorted_by_size", "of_another_index"])
def test_a_series_in_another_order_is_refused(things: tuple[str, str, Path], function: str) -> None:
    with pytest.raises(ConfigurationError, match="which value belongs to which row"):
        moved(things, function)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("a_frame", "returned a DataFrame"),
        ("a_text", "returned a str"),
        ("too_few", "4 values for 5"),
    ],
)
def test_what_is_no_series_of_one_value_a_row_is_refused(
    things: tuple[str, str, Path], function: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        moved(things, function)


def test_rows_for_which_the_function_fails_are_rejected_alone(
    things: tuple[str, str, Path],
) -> None:
    assert sorted(moved(things, "fails_for_two")) == [1, 3, 4, 5]


def test_values_that_no_text_can_hold_are_rejected_and_others_keep_what_they_are(
    things: tuple[str, str, Path],
) -> None:
    assert moved(things, "odd_values") == {1: '{"a": [1]}', 4: "\\x00ff", 5: "1e+300"}
