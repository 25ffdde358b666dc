"""What is wrong with a mapping's SQL and contracts, told without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from sinew.errors import Problem
from sinew.spec.columns import ExprColumn
from sinew.spec.parts import Entity, Query, RejectedAmounts
from sinew.spec.pipeline import Pipeline
from sinew.spec.positions import Path
from sinew.spec.reader import ContractFile


@dataclass(frozen=True)
class Written:
    """A piece of SQL of a mapping: where it stands and what it says."""

    path: Path
    text: str


def lint(mapping: Pipeline, contracts: Mapping[str, ContractFile] | None = None) -> list[Problem]:
    """Every problem of the mapping's expressions, queries and contracts, each with its place."""
    from sinew.compile.expressions import check_expression

    return [
        *_failing(mapping, expressions_of(mapping), check_expression),
        *_failing(mapping, queries_of(mapping), check_query),
        *_patterns(mapping),
        *_contracts(mapping, contracts or {}),
    ]


def expressions_of(mapping: Pipeline) -> Iterator[Written]:
    """Every scalar expression and condition of a mapping, in the file's order."""
    for i, phase in enumerate(mapping.phases):
        if phase.where is not None:
            yield Written(("phases", i, "where"), phase.where)
    for entity in mapping.entities.values():
        yield from _in_entity(entity)
    for i, check in enumerate(mapping.reconcile):
        if check.rejected is not None:
            yield from _in_rejected(check.rejected, ("reconcile", i, "rejected"))


def _in_entity(entity: Entity) -> Iterator[Written]:
    path = ("entities", entity.name)
    if entity.where is not None:
        yield Written((*path, "where"), entity.where)
    for column in entity.columns.values():
        if isinstance(column, ExprColumn):
            yield Written((*path, "columns", column.name, "expr"), column.sql)


def _in_rejected(amounts: RejectedAmounts, path: Path) -> Iterator[Written]:
    for part, texts in (("key", amounts.key), ("value", amounts.value)):
        for name, text in texts.items():
            yield Written((*path, part, name), text)


def queries_of(mapping: Pipeline) -> Iterator[Written]:
    """Every SELECT of a mapping and of the SQL files that it names."""
    for name, entity in mapping.entities.items():
        if entity.source.sql is not None:
            yield Written(("entities", name, "from", "sql"), entity.source.text)
    for i, check in enumerate(mapping.reconcile):
        for side, query in (("source", check.source), ("target", check.target)):
            yield Written(("reconcile", i, side, _form(query)), query.text)


def _form(query: Query) -> str:
    return "sql" if query.sql is not None else "file"


def check_query(text: str) -> None:
    """Raise ValueError, with line and column, unless ``text`` is one SELECT."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    try:
        trees = [tree for tree in sqlglot.parse(text, dialect="postgres") if tree is not None]
    except ParseError as error:
        seen = error.errors[0] if error.errors else {}
        place = f"line {seen.get('line', 1)}, column {seen.get('col', 1)}"
        what = str(seen.get("description", "it is no SQL")).rstrip(". ")
        raise ValueError(f"the query cannot be read at {place}: {what}; {_ADVICE}") from None
    except TokenError:
        message = f"the query cannot be read: a quote or a comment is not closed; {_ADVICE}"
        raise ValueError(message) from None
    if len(trees) != 1:
        raise ValueError(f"the query has {len(trees)} statements; {_ADVICE}")
    # A CTE may hide an INSERT, and SELECT INTO makes a table.
    writes = trees[0].find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into)
    if not isinstance(trees[0], exp.Query) or writes:
        raise ValueError(f"the query does more than read; {_ADVICE}")


_ADVICE = "allowed: one SELECT in Postgres SQL: correct it"


def _failing(
    mapping: Pipeline, written: Iterable[Written], check: Callable[[str], object]
) -> Iterator[Problem]:
    for piece in written:
        try:
            check(piece.text)
        except ValueError as error:
            yield Problem(mapping.location(*piece.path), str(error))


def _patterns(mapping: Pipeline) -> Iterator[Problem]:
    """Patterns of dates that name no one moment, such as one with two years."""
    from sinew.compile.strict_text import patterned

    for entity in mapping.entities.values():
        for column in entity.columns.values():
            path = ("entities", entity.name, "columns", column.name, "do")
            for i, step in enumerate(column.do):
                if step.name in ("parse_date", "parse_timestamp"):
                    check = partial(patterned, rule=step.name)
                    yield from _failing(
                        mapping, [Written((*path, i, step.name), step.argument)], check
                    )


def _contracts(mapping: Pipeline, contracts: Mapping[str, ContractFile]) -> Iterator[Problem]:
    if not contracts:
        return
    from sinew.compile.contract_rules import validate_contract

    for name, contract in contracts.items():
        columns = tuple(mapping.entities[name].columns)
        yield from validate_contract(contract.text, columns, str(contract.path))
