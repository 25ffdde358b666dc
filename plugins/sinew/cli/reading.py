"""Commands that read mapping files: lint, schema, explain."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from sinew.cli.given import context_of, entity_of, migration_of
from sinew.compile.lint import lint as lint_mapping
from sinew.compile.statements_of import Labelled, statements_of
from sinew.engine.audit import audit
from sinew.engine.preflight import preflight
from sinew.engine.session import connect
from sinew.engine.steps import Context
from sinew.errors import Problem
from sinew.explain import explain as tell_plan
from sinew.hooks.mappings import migrations_folder
from sinew.spec import Migration
from sinew.spec.includes import include_root
from sinew.spec.jsonschema import render
from sinew.spec.reader import read_contracts, read_file, read_folder


def lint(options: Namespace) -> int:
    """Print every problem with its place; 1 when there is any."""
    mappings, problems = _read([Path(path) for path in options.paths] or [migrations_folder()])
    for mapping in mappings:
        problems += _problems_inside(mapping)
    for problem in problems:
        print(problem)
    if not problems:
        print("1 mapping is sound" if len(mappings) == 1 else f"{len(mappings)} mappings are sound")
    return 1 if problems else 0


def _read(paths: list[Path]) -> tuple[list[Migration], list[Problem]]:
    mappings, problems = [], []
    for path in paths:
        if path.suffix in (".yaml", ".yml"):
            reading = read_file(path)
            found, wrong = [reading.mapping] if reading.mapping else [], list(reading.problems)
        else:
            found, wrong = read_folder(path)
        mappings += found
        problems += wrong
    return mappings, problems


def _problems_inside(mapping: Migration) -> list[Problem]:
    include = include_root(Path(mapping.location("migration").file))
    contracts, problems = read_contracts(mapping, include)
    return [*problems, *lint_mapping(mapping, contracts)]


def schema(options: Namespace) -> int:
    """Print the JSON Schema of mapping files."""
    sys.stdout.write(render())
    return 0


def explain(options: Namespace) -> int:
    """Print the plan in plain words, and the statements that carry it out when asked to."""
    migration = migration_of(options)
    chosen = [entity_of(migration, options.entity)] if options.entity else []
    text = tell_plan(migration)
    print(_section(text, chosen[0]) if chosen else text, end="")
    if options.sql:
        for line in _statements(context_of(options), chosen or list(migration.entity_order)):
            print(line)
    return 0


def _section(text: str, entity: str) -> str:
    """The part of a plan that is about one entity."""
    found = re.search(rf"^## {re.escape(entity)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0] if found else text


def _statements(context: Context, entities: list[str]) -> Iterator[str]:
    """Both databases are asked for their types, as planning does; nothing is written."""
    with (
        connect(context.source, read_only=True, step="explain") as source,
        connect(context.home, read_only=True, step="explain") as home,
    ):
        preflight(source, home, context.migration)
        plans = audit(source, home, context.migration).plans
    for name in entities:
        phase = next(iter(context.migration.phases)).name
        yield f"\n# SQL of {name}: batch 1 of phase {phase}, as an example"
        step = ""
        for item in statements_of(plans[name], phase):
            if item.step != step:
                step = item.step
                yield f"\n## {step}"
            yield from _statement(item)


def _statement(item: Labelled) -> Iterator[str]:
    yield f"\n-- {item.side}: {item.title}"
    yield f"{in_lines(item.statement.as_string(None))};"


_CLAUSES = (
    "FROM|WHERE|LEFT JOIN|JOIN|ON CONFLICT|GROUP BY|ORDER BY|SELECT|VALUES|RETURNING|SET|WINDOW"
)
# What is in quotes, a parenthesis, or the blank before a clause; IS DISTINCT FROM is none.
_PIECES = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|(?<!LEFT)(?<!DISTINCT) (?=(?:""" + _CLAUSES + r""")\b)"""
)


def in_lines(text: str) -> str:
    """The same statement with a line for each clause, indented by the parentheses around it."""
    depth = 0

    def piece(found: re.Match[str]) -> str:
        nonlocal depth
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        return "\n" + "  " * depth if found[0] == " " else found[0]

    return _PIECES.sub(piece, text)
