"""Commands that read mapping files: lint, schema, explain."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from sinew.api.jsonpaths import broken_paths
from sinew.cli.given import context_of, entity_of, pipeline_of
from sinew.compile.lint import lint as lint_mapping
from sinew.compile.statements_of import Labelled, statements_of
from sinew.engine.audit import audit
from sinew.engine.preflight import preflight
from sinew.engine.session import connect
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError, Problem
from sinew.explain import explain as tell_plan
from sinew.explain_sync import explain_sync
from sinew.hooks.mappings import migrations_folder, syncs_folder
from sinew.spec.findings import unknown
from sinew.spec.includes import include_root
from sinew.spec.jsonschema import render
from sinew.spec.pipeline import Pipeline
from sinew.spec.reader import kind_of, read_contracts, read_file, read_folder, same_names
from sinew.spec.sync import Sync


def lint(options: Namespace) -> int:
    """Print every problem with its place; 1 when there is any."""
    mappings, problems = _read([Path(path) for path in options.paths] or _folders())
    for mapping in mappings:
        problems += _problems_inside(mapping)
    for problem in dict.fromkeys(problems):
        print(problem)
    if not problems:
        print("1 mapping is sound" if len(mappings) == 1 else f"{len(mappings)} mappings are sound")
    return 1 if problems else 0


def _folders() -> list[Path]:
    """Where mappings are; a project without any sync has no folder for them."""
    syncs = [syncs_folder()] if syncs_folder().is_dir() else []
    return [migrations_folder(), *syncs] if migrations_folder().is_dir() or not syncs else syncs


def _read(paths: list[Path]) -> tuple[list[Pipeline], list[Problem]]:
    mappings: list[Pipeline] = []
    problems: list[Problem] = []
    for path in paths:
        if path.suffix in (".yaml", ".yml"):
            reading = read_file(path, kind=kind_of(path.resolve().parent))
            mappings += [reading.mapping] if reading.mapping else []
            problems += reading.problems
        else:
            found, wrong = read_folder(path, kind=kind_of(path.resolve()))
            mappings += found
            problems += wrong
    # A file may have been named twice; two files may not bear one name.
    files = {Path(mapping.location(mapping.kind).file).resolve(): mapping for mapping in mappings}
    return mappings, [*problems, *same_names(list(files.values()))]


def _problems_inside(mapping: Pipeline) -> list[Problem]:
    include = include_root(Path(mapping.location(mapping.kind).file))
    contracts, problems = read_contracts(mapping, include)
    own = [*_broken_paths(mapping), *_unknown_entities(mapping)]
    return [*problems, *lint_mapping(mapping, contracts), *own]


def _unknown_entities(mapping: Pipeline) -> Iterator[Problem]:
    """What a sync waits for and nobody loads: it would never run, and nothing would tell."""
    if not isinstance(mapping, Sync) or not mapping.schedule.after:
        return
    beside = Path(mapping.location(mapping.kind).file).absolute().parent
    folders = [beside.parent / "migrations", beside]
    known = [
        f"{found.name}.{entity}"
        for folder in folders
        if folder.is_dir()
        for found in read_folder(folder, kind=kind_of(folder))[0]
        for entity in found.entities
    ]
    for i, name in enumerate(mapping.schedule.after):
        if name not in known:
            message = unknown("the entity", name, known, "name one that a mapping loads")
            yield Problem(mapping.location("schedule", "after", i), message)


def _broken_paths(mapping: Pipeline) -> Iterator[Problem]:
    """JSONPaths of a sync that the library behind them cannot read."""
    if not isinstance(mapping, Sync):
        return
    for name, resource in mapping.resources.items():
        for place, message in broken_paths(resource):
            yield Problem(mapping.location("resources", name, *place), message)
    for name, entity in mapping.entities.items():
        if entity.deliver is not None:
            for place, message in broken_paths(entity.deliver):
                yield Problem(mapping.location("entities", name, "deliver", *place), message)


def schema(options: Namespace) -> int:
    """Print the JSON Schema of mapping files."""
    sys.stdout.write(render(options.kind))
    return 0


def explain(options: Namespace) -> int:
    """Print the plan in plain words, and the statements that carry it out when asked to."""
    migration = pipeline_of(options)
    chosen = [entity_of(migration, options.entity)] if options.entity else []
    text = explain_sync(migration) if isinstance(migration, Sync) else tell_plan(migration)
    if options.sql and isinstance(migration, Sync):
        raise ConfigurationError(
            f"{migration.name} is a sync, whose statements follow from what a run reads; --sql is for migrations: "
            "leave it out"
        )
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
