"""The files that a mapping names: SQL, Python modules, contracts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from sinew.spec.columns import PythonColumn
from sinew.spec.findings import Finding, unknown
from sinew.spec.pipeline import Pipeline
from sinew.spec.positions import Path as Where

SQL_FOLDER = "sql"
PYTHON_FOLDER = "mappings/python"


def include_root(mapping_file: Path) -> Path:
    """The folder named ``include`` above a mapping file, else the folder of the file."""
    above = mapping_file.absolute().parents
    return next((folder for folder in above if folder.name == "include"), above[0])


def attach_files(mapping: Pipeline, root: Path | None) -> list[Finding]:
    """Read every file that the mapping names and keep its text in the model.

    Returns what is wrong with them; without a root no file can be named.
    """
    return [*_sql_files(mapping, root), *_modules(mapping, root), *_contracts(mapping, root)]


def contract_files(mapping: Pipeline, root: Path) -> dict[str, Path]:
    """Entity to its contract file, for the entities that have one."""
    if mapping.contracts is None:
        return {}
    files = {name: root / mapping.contracts / f"{name}.yaml" for name in mapping.entities}
    return {name: path for name, path in files.items() if path.is_file()}


def _sql_files(mapping: Pipeline, root: Path | None) -> Iterator[Finding]:
    for name, entity in mapping.entities.items():
        if entity.source.sql is not None:
            where: Where = ("entities", name, "from", "sql")
            text, findings = _read(root, SQL_FOLDER, entity.source.sql, where)
            entity.source._text = text
            yield from findings
    for i, check in enumerate(mapping.reconcile):
        for side, query in (("source", check.source), ("target", check.target)):
            if query.file is not None:
                where = ("reconcile", i, side, "file")
                query._text, findings = _read(root, SQL_FOLDER, query.file, where)
                yield from findings


def _modules(mapping: Pipeline, root: Path | None) -> Iterator[Finding]:
    for name, entity in mapping.entities.items():
        for column in entity.columns.values():
            if isinstance(column, PythonColumn):
                where: Where = ("entities", name, "columns", column.name, "python")
                file = column.module.replace(".", "/") + ".py"
                column._source, findings = _read(root, PYTHON_FOLDER, file, where)
                yield from findings or _function(column, where)


def _function(column: PythonColumn, where: Where) -> Iterator[Finding]:
    try:
        tree = ast.parse(column.source)
    except (SyntaxError, ValueError) as error:
        yield Finding(where, f"the module {column.module!r} is no Python: {error}: mend the module")
        return
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if column.callable_name not in names:
        what = f"the module {column.module!r} has no such function:"
        yield Finding(where, unknown(what, column.callable_name, names, "name one of these"))


def _contracts(mapping: Pipeline, root: Path | None) -> Iterator[Finding]:
    if mapping.contracts is None:
        return
    where: Where = ("contracts",)
    folder, findings = _inside(root, "", mapping.contracts, where)
    yield from findings
    if folder is None:
        return
    if not folder.is_dir():
        yield Finding(
            where,
            f"there is no folder {mapping.contracts!r} under include/; needed: one with "
            "<entity>.yaml files: make it, or remove `contracts`",
        )
        return
    for file in sorted(folder.glob("*.y*ml")):
        if file.suffix != ".yaml" or file.stem not in mapping.entities:
            message = unknown("the entity", file.stem, mapping.entities, "rename the file")
            yield Finding(where, f"the contract {mapping.contracts}/{file.name}: {message}")


def _read(root: Path | None, folder: str, name: str, where: Where) -> tuple[str, list[Finding]]:
    path, findings = _inside(root, folder, name, where)
    if path is None:
        return "", findings
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        return "", [Finding(where, _unreadable(path, folder, name, str(reason)))]
    if not text.strip():
        return "", [Finding(where, _unreadable(path, folder, name, "it is empty"))]
    return text, []


def _unreadable(path: Path, folder: str, name: str, reason: str) -> str:
    there = sorted(file.name for file in path.parent.glob(f"*{path.suffix}"))
    allowed = f"; files there: {', '.join(there[:20])}" if there else ""
    file = f"include/{folder}/{name}"
    return f"the file {file} cannot be read: {reason}{allowed}: name another, or write it"


def _inside(
    root: Path | None, folder: str, name: str, where: Where
) -> tuple[Path | None, list[Finding]]:
    if root is None:
        message = (
            f"{name!r} is a file, but the mapping was read without an include folder: give one"
        )
        return None, [Finding(where, message)]
    base = (root / folder).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        place = f"include/{folder}".rstrip("/")
        message = f"{name!r} leads out of {place}/; allowed: a path under it: move the file there"
        return None, [Finding(where, message)]
    return path, []
