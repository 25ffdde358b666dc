"""Which rows of a staging table fail a check: what the samples of a failed gate are read by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from sinew.compile.contract_rules import MISSING_KEYS, VALIDITY_KEYS
from sinew.compile.expressions import columns_of


@dataclass(frozen=True)
class Rows:
    """The rows that fail a check; no predicate where a check is not about single rows."""

    predicate: sql.Composable | None = None
    touches: tuple[str, ...] = ()


def failing_rows(
    kind: str,
    column: str | None,
    body: Mapping[str, Any],
    holder: Mapping[str, Any],
    table: sql.Composable,
) -> Rows:
    """What a user's check calls wrong; ``holder`` is its column, whose settings it may inherit."""
    found = _predicate(kind, column, body, holder, table)
    if found is None:
        return Rows()
    if "filter" in body:
        found = sql.SQL("({}) AND ({})").format(_raw(body["filter"]), found)
    named = [column] if column is not None else list(body.get("columns", ()))
    if "expression" in body and "${" not in body["expression"]:
        named += sorted(columns_of(body["expression"]))
    return Rows(found, tuple(dict.fromkeys(named)))


def duplicates(table: sql.Composable, columns: Sequence[str]) -> sql.Composable:
    """Rows whose values in these columns are in another row too."""
    names = _names(columns)
    return sql.SQL(
        "({names}) IN (SELECT {names} FROM {table} GROUP BY {names} HAVING count(*) > 1)"
    ).format(names=names, table=table)


def not_there(
    table: sql.Composable, columns: Sequence[str], parent: sql.Composable, keys: Sequence[str]
) -> sql.Composable:
    """Rows with values in all these columns that no row of the parent has as its key."""
    pairs = list(zip(columns, keys, strict=True))
    given = [sql.SQL("{}.{} IS NOT NULL").format(table, sql.Identifier(name)) for name in columns]
    equal = [
        sql.SQL("parent.{} = {}.{}").format(sql.Identifier(key), table, sql.Identifier(name))
        for name, key in pairs
    ]
    missing = sql.SQL("NOT EXISTS (SELECT FROM {} AS parent WHERE {})").format(
        parent, sql.SQL(" AND ").join(equal)
    )
    return sql.SQL(" AND ").join([*given, missing])


def _predicate(
    kind: str,
    column: str | None,
    body: Mapping[str, Any],
    holder: Mapping[str, Any],
    table: sql.Composable,
) -> sql.Composable | None:
    if kind == "failed_rows" and "expression" in body:
        return sql.SQL("({})").format(_raw(body["expression"]))
    if kind == "duplicate":
        return duplicates(table, body.get("columns") or [str(column)])
    if kind not in ("missing", "invalid") or column is None:
        return None
    missing = _missing(column, _inherited(body, holder, MISSING_KEYS))
    if kind == "missing":
        return missing
    wrong = _invalid(column, _inherited(body, holder, VALIDITY_KEYS), table)
    return sql.SQL("NOT ({}) AND ({})").format(missing, wrong)


def _inherited(
    body: Mapping[str, Any], holder: Mapping[str, Any], keys: Sequence[str]
) -> Mapping[str, Any]:
    """Soda takes all the settings of one kind from the check, or all of them from its column."""
    return body if any(key in body for key in keys) else holder


def _missing(column: str, settings: Mapping[str, Any]) -> sql.Composable:
    name = sql.Identifier(column)
    parts: list[sql.Composable] = [sql.SQL("{} IS NULL").format(name)]
    if "missing_values" in settings:
        parts.append(_one_of(name, settings["missing_values"]))
    if "missing_format" in settings:
        parts.append(_matches(name, settings["missing_format"]["regex"]))
    return sql.SQL(" OR ").join(parts)


def _invalid(column: str, settings: Mapping[str, Any], table: sql.Composable) -> sql.Composable:
    name = sql.Identifier(column)
    parts = [rule(name, settings[key]) for key, rule in _RULES.items() if key in settings]
    if "valid_reference_data" in settings:
        parts.append(_unreferenced(column, settings["valid_reference_data"], table))
    return sql.SQL(" OR ").join(parts)


def _unreferenced(column: str, value: Mapping[str, Any], table: sql.Composable) -> sql.Composable:
    schema, parent = str(value["dataset"]).split("/")[-2:]
    found = not_there(table, [column], sql.Identifier(schema, parent), [value["column"]])
    return sql.SQL("({})").format(found)


def _one_of(name: sql.Composable, values: Sequence[Any]) -> sql.Composable:
    return sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(map(sql.Literal, values)))


def _matches(name: sql.Composable, regex: str) -> sql.Composable:
    return sql.SQL("{} ~ {}").format(name, sql.Literal(regex))


def _not(rule: Callable[[sql.Composable, Any], sql.Composable]) -> Callable[..., sql.Composable]:
    return lambda name, value: sql.SQL("NOT ({})").format(rule(name, value))


def _compare(template: str) -> Callable[[sql.Composable, Any], sql.Composable]:
    shape = sql.SQL(template)
    return lambda name, value: shape.format(name, sql.Literal(value))


def _format(name: sql.Composable, value: Mapping[str, Any]) -> sql.Composable:
    return _matches(name, value["regex"])


def _raw(text: str) -> sql.SQL:
    """The author's own SQL as written; a comment at its end must not swallow what follows."""
    return sql.SQL(text + "\n" if "--" in text else text)


_RULES: Mapping[str, Callable[[sql.Composable, Any], sql.Composable]] = {
    "valid_values": _not(_one_of),
    "invalid_values": _one_of,
    "valid_format": _not(_format),
    "invalid_format": _format,
    "valid_min": _compare("{} < {}"),
    "valid_max": _compare("{} > {}"),
    "valid_length": _compare("length({}) <> {}"),
    "valid_min_length": _compare("length({}) < {}"),
    "valid_max_length": _compare("length({}) > {}"),
}


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
