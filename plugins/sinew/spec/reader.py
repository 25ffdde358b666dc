"""Mapping files to models. All problems of all files are told at once, each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import yaml
from pydantic import ValidationError
from typing_extensions import TypeVar

from sinew.errors import Location, Problem, SpecError
from sinew.spec.crosscheck import cross_check
from sinew.spec.findings import Finding
from sinew.spec.includes import attach_files, contract_files, include_root
from sinew.spec.messages import findings_of
from sinew.spec.models import Migration
from sinew.spec.pipeline import Pipeline
from sinew.spec.positions import Document, load_document
from sinew.spec.salvage import salvage
from sinew.spec.sync import Sync
from sinew.spec.sync_check import check_sync

# Whose file it is, unless the caller says otherwise.
_MIGRATION: Any = Migration
P = TypeVar("P", bound=Pipeline, default=Migration)


@dataclass(frozen=True)
class Reading(Generic[P]):
    """A mapping, or why there is none."""

    mapping: P | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ContractFile:
    """A Soda contract as it was read: where it is, its text, and the text as plain values."""

    path: Path
    text: str
    data: Any


def read_mapping(
    path: str | Path, include: str | Path | None = None, kind: type[P] = _MIGRATION
) -> P:
    """Read one mapping file. ``include`` defaults to the include folder above it.

    Raises SpecError with every problem.
    """
    return _mapping_or_raise(read_file(Path(path), include, kind))


def parse_mapping(
    text: str,
    *,
    file: str = "<memory>",
    include: str | Path | None = None,
    kind: type[P] = _MIGRATION,
) -> P:
    """Read a mapping from text; without ``include`` it can name no file. Raises SpecError."""
    return _mapping_or_raise(read_text(text, file, Path(include) if include else None, kind))


def read_all(
    folder: str | Path, include: str | Path | None = None, kind: type[P] = _MIGRATION
) -> dict[str, P]:
    """Read every ``*.yaml`` of a folder, by name. Raises one SpecError for the problems of all."""
    readings, problems = read_folder(Path(folder), include, kind)
    if problems:
        raise SpecError(problems)
    return {mapping.name: mapping for mapping in readings}


def kind_of(folder: Path) -> type[Pipeline]:
    """The kind of pipelines whose mappings lie in a folder of that name; migrations anywhere else."""
    return Sync if folder.name == "syncs" else Migration


def read_folder(
    folder: Path, include: str | Path | None = None, kind: type[P] = _MIGRATION
) -> tuple[list[P], list[Problem]]:
    """The mappings of a folder that are right, sorted by file, and the problems of the others."""
    if not folder.is_dir():
        message = f"there is no folder {str(folder)!r}; needed: one with mapping files: make it"
        return [], [Problem(Location(str(folder)), message)]
    files = sorted(file for end in ("yaml", "yml") for file in folder.glob(f"[!.]*.{end}"))
    readings = [read_file(file, include, kind) for file in files]
    mappings = [reading.mapping for reading in readings if reading.mapping is not None]
    problems = [problem for reading in readings for problem in reading.problems]
    return mappings, [*problems, *same_names(mappings)]


def read_file(
    path: Path, include: str | Path | None = None, kind: type[P] = _MIGRATION
) -> Reading[P]:
    """Read one file; problems are returned, not raised."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return Reading(None, (_unreadable(path, error),))
    return read_text(text, str(path), Path(include) if include else include_root(path), kind)


def read_text(text: str, file: str, include: Path | None, kind: type[P] = _MIGRATION) -> Reading[P]:
    """Read a mapping's text; problems are returned, not raised."""
    document = load_document(text, file)
    if not isinstance(document.data, dict):
        return Reading(None, document.problems or (_no_map(document, kind),))
    try:
        mapping = kind.model_validate(document.data)
    except ValidationError as error:
        found = _all_findings(error, document, include, kind)
        return Reading(None, _placed(found, document))
    mapping._positions = document.positions
    problems = _placed(_part_findings(mapping, include), document)
    return Reading(None if problems else mapping, problems)


def _part_findings(mapping: Pipeline, include: Path | None) -> list[Finding]:
    own = check_sync(mapping) if isinstance(mapping, Sync) else []
    return [*cross_check(mapping), *own, *attach_files(mapping, include)]


def _all_findings(
    error: ValidationError, document: Document, include: Path | None, kind: type[Pipeline]
) -> list[Finding]:
    """What pydantic found, and what can still be checked in the parts that are right."""
    found = list(findings_of(error.errors(include_url=False), document.positions, model=kind))
    saved = salvage(document.data, found, kind)
    if saved.mapping is None:
        return found
    return [*found, *filter(saved.trusts, _part_findings(saved.mapping, include))]


def _placed(findings: list[Finding], document: Document) -> tuple[Problem, ...]:
    problems = (finding.place(document.positions) for finding in findings)
    return _in_order([*document.problems, *problems])


def read_contracts(
    mapping: Pipeline, include: str | Path
) -> tuple[dict[str, ContractFile], list[Problem]]:
    """Entity to its contract, for the entities that have one, and the problems of their YAML."""
    contracts: dict[str, ContractFile] = {}
    problems: list[Problem] = []
    for name, path in contract_files(mapping, Path(include)).items():
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(_unreadable(path, error))
            continue
        document = load_document(text, str(path))
        problems.extend(document.problems)
        if not document.problems:
            # Its own checks decide what its values mean, so it is read as any YAML.
            contracts[name] = ContractFile(path, text, yaml.safe_load(text))
    return contracts, problems


def _mapping_or_raise(reading: Reading[P]) -> P:
    if reading.mapping is None:
        raise SpecError(reading.problems)
    return reading.mapping


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> Problem:
    reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
    message = f"the file cannot be read: {reason}: check its name, its rights and its encoding"
    return Problem(Location(str(path)), message)


def _no_map(document: Document, kind: type[Pipeline]) -> Problem:
    key = kind.model_fields["name"].alias
    message = f"a mapping file is a map that begins with `{key}: <name>`: write one"
    return Problem(document.positions.value(()), message)


def same_names(mappings: Sequence[Pipeline]) -> list[Problem]:
    """A problem for each mapping whose name an earlier one bears; migrations and syncs share a ledger."""
    seen: dict[str, Pipeline] = {}
    problems = []
    for mapping in mappings:
        first = seen.setdefault(mapping.name, mapping)
        if first is not mapping:
            message = (
                f"the {mapping.kind} {mapping.name!r} is already declared at "
                f"{first.location(first.kind)}; a name may stand once: rename one of them"
            )
            problems.append(Problem(mapping.location(mapping.kind), message))
    return problems


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    def place(problem: Problem) -> tuple[int, int]:
        where = problem.location
        return (where.line, where.column) if where else (0, 0)

    return tuple(sorted(dict.fromkeys(problems), key=place))
