"""Values that a vectorised Python function makes from landed columns, chunk by chunk."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from sinew.compile.entity_plan import EntityPlan
from sinew.compile.table_sql import landing_table, python_table
from sinew.engine.batch import Batch
from sinew.errors import ConfigurationError
from sinew.paths import include_folder
from sinew.spec.columns import PythonColumn

if TYPE_CHECKING:
    import pandas

# Rows that a worker holds at once; at a few hundred bytes a row this stays far below 100 MB.
CHUNK_ROWS = 20_000

Function = Callable[["pandas.DataFrame"], "pandas.Series[Any]"]


def make_python_values(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Fill the batch's table of function values, one row for every landed row."""
    functions = {column.name: load_function(column.function) for column in plan.python_columns}
    names = list(dict.fromkeys(name for column in plan.python_columns for name in column.columns))
    for rows, frame in _chunks(home, batch, names):
        results = [_apply(functions[column.name], frame, column) for column in plan.python_columns]
        _store(home, plan, batch, rows, results)


def load_function(reference: str) -> Function:
    """The function that ``module:function`` names, from include/mappings/python/."""
    module_name, _, function_name = reference.partition(":")
    path = include_folder() / "mappings" / "python" / f"{module_name}.py"
    module = _load_module(path)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigurationError(
            f"{path.name} has no function {function_name!r}: name one of its functions"
        )
    return function  # type: ignore[no-any-return]


def _load_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"sinew_mapping_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigurationError(
            f"there is no include/mappings/python/{path.name}: write it or mend the mapping"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _chunks(
    home: psycopg.Connection, batch: Batch, names: list[str]
) -> Iterator[tuple[list[str], pandas.DataFrame]]:
    """Landed rows by a server-side cursor: (row ids, frame of the columns asked for)."""
    import pandas

    query = sql.SQL("SELECT l.ctid::text, {} FROM {} AS l").format(
        sql.SQL(", ").join(sql.Identifier("l", name) for name in names), landing_table(batch.id)
    )
    with home.cursor(name="sinew_python") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(CHUNK_ROWS):
            frame = pandas.DataFrame.from_records([row[1:] for row in rows], columns=names)
            yield [row[0] for row in rows], frame


def _apply(
    function: Function, frame: pandas.DataFrame, column: PythonColumn
) -> list[tuple[str | None, str | None]]:
    """(value as text, name of the error) for each row; a failing chunk is halved down to its failing rows."""
    given = frame[list(column.columns)].reset_index(drop=True)
    try:
        result = function(given)
    except Exception as error:  # whatever a user's function raises belongs to its rows
        if len(frame) == 1:
            return [(None, type(error).__name__)]
        middle = len(frame) // 2
        return _apply(function, frame.iloc[:middle], column) + _apply(
            function, frame.iloc[middle:], column
        )
    return [_told(value) for value in _one_a_row(result, len(frame), column)]


def _one_a_row(result: Any, rows: int, column: PythonColumn) -> list[Any]:
    """The values in the order of the rows. A Series in another order would give each row another's value."""
    import pandas
    from pandas.api.types import is_list_like

    listed = is_list_like(result) and not isinstance(result, dict | set | pandas.DataFrame)
    if not listed or getattr(result, "ndim", 1) != 1:
        raise ConfigurationError(
            f"{column.function} returned a {type(result).__name__}: return a Series of the index that it was given"
        )
    if len(result) != rows:
        raise ConfigurationError(
            f"{column.function} returned {len(result)} values for {rows} rows: return one value a row"
        )
    if isinstance(result, pandas.Series) and not result.index.equals(pandas.RangeIndex(rows)):
        raise ConfigurationError(
            f"{column.function} returned a Series of another index or in another order than it was given, so nobody "
            "knows which value belongs to which row: return it with the frame's index, in the frame's order"
        )
    return list(result)


# Whole numbers beyond this are written as Python writes floats: all their digits would be a lie.
_WHOLE_FLOATS = 2.0**63


def _told(value: Any) -> tuple[str | None, str | None]:
    """A value as text, or the name of the error for what no text of Postgres can hold."""
    try:
        text = _as_text(value)
        if text is not None and "\0" in text:
            return None, "CharacterNotInRepertoire"
        (text or "").encode()
    except (TypeError, ValueError) as error:
        return None, type(error).__name__
    return text, None


def _as_text(value: Any) -> str | None:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if _is_missing(value):
        return None
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_FLOATS:
        # pandas turns integers with gaps into floats.
        return str(int(value))
    if getattr(value, "ndim", 0):
        raise TypeError("an array is no single value")
    return str(value)


def _is_missing(value: Any) -> bool:
    """None, NA, NaT and NaN, which is how pandas writes NULL among floats."""
    import pandas

    found = pandas.isna(value)
    return found if isinstance(found, bool) else False


def _store(
    home: psycopg.Connection,
    plan: EntityPlan,
    batch: Batch,
    rows: list[str],
    results: list[list[tuple[str | None, str | None]]],
) -> None:
    # COPY cannot run while a cursor of the same connection is read, but between two fetches it can.
    with (
        home.cursor() as writer,
        writer.copy(sql.SQL("COPY {} FROM STDIN").format(python_table(batch.id))) as copy,
    ):
        for i, row in enumerate(rows):
            values = [result[i][0] for result in results]
            failed = [result[i][1] for result in results]
            copy.write_row([row, *values, *failed])
