"""SQL expressions that a mapping's author wrote: what they may hold, which columns they read.

An expression is never rendered anew: a rewritten text might mean something else. Columns get their
alias by putting it in front of them in the author's own text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import ParseError, TokenError

# Words that Postgres reads as a call without parentheses, though the parser takes them for columns.
_CALLS = frozenset(["user", "current_role", "current_catalog", "system_user", "default"])
_STATEMENTS = (
    *(exp.DML, exp.DDL, exp.Command, exp.Drop, exp.Alter, exp.TruncateTable, exp.Into, exp.Lock),
    *(exp.Set, exp.Use, exp.Transaction, exp.Commit, exp.Rollback, exp.Copy, exp.Merge, exp.Grant),
    *(exp.Analyze, exp.Describe, exp.Show, exp.Pragma, exp.Kill),
)
# Aggregates and sets that the parser takes for ordinary functions; so is whatever ends in _agg.
_AGGREGATES = frozenset(
    ["bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor", "any_value"]
)
_SET_FUNCTIONS = frozenset(
    ["regexp_matches", "regexp_split_to_table", "string_to_table", "json_array_elements"]
    + ["jsonb_array_elements", "json_each", "jsonb_each", "json_object_keys", "jsonb_object_keys"]
)
_QUERIES = (exp.Query, exp.Subquery)
_SETS = (exp.Unnest, exp.Explode, exp.ExplodingGenerateSeries, exp.GenerateSeries)
_ADVICE = "write one scalar Postgres expression over the source's columns, such as upper(name)"


def check_expression(text: str) -> None:
    """Raise ValueError, with line and column, unless ``text`` is one scalar Postgres expression.

    A SELECT inside parentheses is allowed; statements, aggregates, windows and sets are not.
    """
    tree = _parse(text)
    for wrong, what in _forbidden(tree):
        raise ValueError(f"the expression holds {what}{_place(wrong)}; {_ADVICE}")


def columns_of(text: str) -> frozenset[str]:
    """Unqualified columns outside subqueries; names without quotes are folded to lower case."""
    return frozenset(_folded(name) for name in _names(_parse(text)))


def qualify(text: str, alias: str) -> str:
    """Prefix every unqualified column outside subqueries with the alias; all else stays."""
    quoted = '"' + alias.replace('"', '""') + '".'
    result = text
    for start in sorted({name.meta["start"] for name in _names(_parse(text))}, reverse=True):
        result = result[:start] + quoted + result[start:]
    # A trailing comment would swallow the parenthesis that the caller closes.
    return result + "\n" if "--" in text else result


def without_semicolon(query: str) -> str:
    """The query, fit to stand in parentheses; the line break ends a trailing comment."""
    end = len(query)
    for token in reversed(sqlglot.tokenize(query, read="postgres")):
        if token.token_type is not TokenType.SEMICOLON:
            break
        end = token.start
    return query[:end] + "\n"


def _parse(text: str) -> exp.Expr:
    try:
        tokens = sqlglot.tokenize(text, read="postgres")
        trees = sqlglot.parse(text, dialect="postgres")
    except ParseError as error:
        seen: dict[str, Any] = error.errors[0] if error.errors else {}
        place = f" at line {seen.get('line', 1)}, column {seen.get('col', 1)}"
        raise _unreadable(place, _described(seen)) from None
    except TokenError as error:
        raise _unreadable(" at line 1, column 1", str(error)) from None
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            place = f"line {token.line}, column {token.col}"
            raise ValueError(f"the expression holds a semicolon at {place}; {_ADVICE}")
    if not trees or trees[0] is None:
        raise ValueError(f"the expression is empty at line 1, column 1; {_ADVICE}")
    return trees[0]


def _unreadable(place: str, why: str) -> ValueError:
    return ValueError(f"the expression cannot be read{place}: {why}; {_ADVICE}")


def _described(seen: dict[str, Any]) -> str:
    text = str(seen.get("description", "")).rstrip(". ")
    if "<class" in text:
        text = "something is missing"
    near = str(seen.get("highlight", ""))
    return f"{text} near {near!r}" if near else text


def _forbidden(tree: exp.Expr) -> Iterator[tuple[exp.Expr, str]]:
    if isinstance(tree, exp.Alias):
        yield tree, f"an alias {tree.alias!r}"
    if isinstance(tree, exp.Select | exp.SetOperation):
        yield tree, "a statement"
    for node in tree.walk():
        if isinstance(node, _STATEMENTS) and not isinstance(node, _QUERIES):
            yield node, "a statement that changes something"
        elif not _within_query(node):
            yield from _not_scalar(node)


def _not_scalar(node: exp.Expr) -> Iterator[tuple[exp.Expr, str]]:
    if isinstance(node, exp.Window):
        yield node, "a window function, which would depend on the batch"
    elif isinstance(node, exp.AggFunc) or _is_aggregate(_called(node)):
        yield node, "an aggregate, which would depend on the batch"
    elif isinstance(node, _SETS) or _called(node) in _SET_FUNCTIONS:
        yield node, "a function that returns a set of rows"
    elif isinstance(node, exp.Star):
        yield node, "a star"
    elif isinstance(node, exp.Placeholder | exp.Parameter):
        yield node, "a placeholder"


def _is_aggregate(name: str) -> bool:
    return name.endswith("_agg") or name in _AGGREGATES


def _called(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


def _within_query(node: exp.Expr) -> bool:
    return isinstance(node, _QUERIES) or node.find_ancestor(*_QUERIES) is not None


def _names(tree: exp.Expr) -> Iterator[exp.Identifier]:
    for column in tree.find_all(exp.Column):
        name = column.this
        unqualified = isinstance(name, exp.Identifier) and not column.table
        if unqualified and not _within_query(column) and not _is_call(name):
            yield name


def _is_call(name: exp.Identifier) -> bool:
    return not name.quoted and name.name.lower() in _CALLS


def _folded(name: exp.Identifier) -> str:
    return name.name if name.quoted else name.name.lower()


def _place(node: exp.Expr) -> str:
    for part in node.walk():
        if "line" in part.meta:
            return f" at line {part.meta['line']}, column {part.meta['col']}"
    return " at line 1, column 1"
