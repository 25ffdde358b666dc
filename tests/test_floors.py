"""Imports go downward only, heavy libraries stay out of parse time, and no file hides another."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "plugins" / "sinew"

# Lowest first. Modules of one floor may import each other.
FLOORS = [
    {"errors", "paths"},
    {"spec"},
    {"compile"},
    {"engine", "auth", "api", "explain", "explain_sync"},
    {"hooks"},
    {"provider"},
    {"operators", "triggers"},
    {"dagparts", "dagbuild", "syncbuild"},
    {"dags"},
    {"cli", "__main__"},
]
LEVEL = {part: level for level, floor in enumerate(FLOORS) for part in floor}

# Parsed again and again by Airflow: what they import at module level, every parse pays for.
PARSED = {
    "spec",
    "provider",
    "dagparts",
    "dagbuild",
    "syncbuild",
    "operators",
    "hooks",
    "triggers",
    "dags",
}
HEAVY = {
    "authlib",
    "joserfc",
    "jsonpath",
    "pandas",
    "psycopg",
    "psycopg2",
    "requests",
    "soda",
    "soda_core",
    "soda_postgres",
    "sqlglot",
}
# The hook over the HTTP provider's own, which loads requests: Airflow looks it up where it is used.
NEVER_PARSED = ("http_hook",)
# The engine and what lies below it work without Airflow.
BELOW_AIRFLOW = {
    "errors",
    "paths",
    "spec",
    "compile",
    "engine",
    "auth",
    "api",
    "explain",
    "explain_sync",
}


@dataclass(frozen=True)
class Import:
    """One import statement: the module that it names, and whether it runs when the file does."""

    name: str
    line: int
    at_module_level: bool
    relative: bool


def imports_of(source: str) -> Iterator[Import]:
    """Every import of a file but those for type checkers only."""
    yield from _walk(ast.parse(source), at_module_level=True)


def _walk(node: ast.AST, at_module_level: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_module_level, relative=False)
        elif isinstance(child, ast.ImportFrom):
            yield from _from(child, at_module_level)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, at_module_level and not inside)


def _from(node: ast.ImportFrom, at_module_level: bool) -> Iterator[Import]:
    for alias in node.names:
        # `from sinew import engine` names a module as much as `import sinew.engine` does.
        name = f"{node.module}.{alias.name}" if node.module else alias.name
        yield Import(name, node.lineno, at_module_level, relative=node.level > 0)


def files_of(package: Path) -> list[Path]:
    """All of a package's source files, in a fixed order."""
    return sorted(package.rglob("*.py"))


def part_of(file: Path, package: Path) -> str:
    """The name of the part, such as ``engine``, that a file belongs to; empty for the root."""
    first = file.relative_to(package).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def upward_imports(package: Path) -> list[str]:
    """Imports of a higher floor, of Airflow from below the hooks, and relative ones."""
    found = []
    for file in files_of(package):
        part = part_of(file, package)
        for item in imports_of(file.read_text(encoding="utf-8")):
            if problem := _upward(part, item):
                found.append(f"{file.relative_to(package)}:{item.line}: {problem}")
    return found


def _upward(part: str, item: Import) -> str | None:
    top, *rest = item.name.split(".")
    if item.relative:
        return f"relative import of {item.name}"
    if top == "airflow" and part in BELOW_AIRFLOW:
        return f"{part} imports airflow"
    if top != "sinew" or not rest:
        return None
    # The package's own __init__ lies below all of its parts.
    above = LEVEL.get(rest[0], -1) > LEVEL.get(part, -1)
    return f"{part or 'the root'} imports {item.name}, a higher floor" if above else None


def unknown_parts(package: Path) -> set[str]:
    """Parts that no floor was given to."""
    return {part_of(file, package) for file in files_of(package)} - LEVEL.keys() - {""}


def heavy_imports(package: Path) -> list[str]:
    """Module-level imports of slow libraries, in files that Airflow parses."""
    return [
        f"{file.relative_to(package)}:{item.line}: {item.name}"
        for file in files_of(package)
        if part_of(file, package) in PARSED
        for item in imports_of(file.read_text(encoding="utf-8"))
        if item.at_module_level and item.name.split(".")[0] in HEAVY
    ]


def shadowing_stems(package: Path) -> list[str]:
    """Files named as a module of the standard library: loaded by stem, they would replace it."""
    stems = (file.stem for file in files_of(package) if file.stem not in ("__init__", "__main__"))
    return [stem for stem in stems if stem in sys.stdlib_module_names]


class TestThePackage:
    def test_imports_go_downward_only(self) -> None:
        assert upward_imports(PACKAGE) == []

    def test_every_part_has_a_floor(self) -> None:
        assert unknown_parts(PACKAGE) == set()

    def test_parsed_modules_import_no_heavy_library(self) -> None:
        assert heavy_imports(PACKAGE) == []

    def test_no_file_shadows_the_standard_library(self) -> None:
        assert shadowing_stems(PACKAGE) == []

    def test_airflow_is_told_not_to_load_the_package_file_by_file(self) -> None:
        ignored = (PACKAGE.parent / ".airflowignore").read_text(encoding="utf-8").split()
        assert "sinew/" in ignored

    def test_importing_what_airflow_parses_loads_no_heavy_library(self) -> None:
        # Transitive, which no reading of single files can show.
        modules = [
            ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
            for file in files_of(PACKAGE)
            if part_of(file, PACKAGE) in PARSED and file.stem not in ("__init__", *NEVER_PARSED)
        ]
        code = f"import sys, {', '.join(['sinew', *modules])}; print(*sorted(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert HEAVY.isdisjoint(done.stdout.split())


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """An empty package to plant bad files in."""
    package = tmp_path / "sinew"
    package.mkdir()
    (package / "__init__.py").touch()
    return package


def plant(package: Path, name: str, source: str) -> None:
    file = package / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(source, encoding="utf-8")


class TestTheRulesThemselves:
    @pytest.mark.parametrize(
        ("name", "source"),
        [
            ("compile/rows.py", "from sinew.engine.load import load_batch"),
            ("compile/rows.py", "from sinew import engine"),
            ("spec/models.py", "def read():\n    import sinew.dagbuild"),
            ("engine/load.py", "from airflow.sdk import DAG"),
            ("engine/load.py", "def f():\n    import airflow"),
            ("errors.py", "import sinew.spec.models"),
            ("engine/load.py", "from . import batch"),
            ("__init__.py", "from sinew.errors import SinewError"),
        ],
    )
    def test_an_upward_import_is_found(self, planted: Path, name: str, source: str) -> None:
        plant(planted, name, source)
        assert len(upward_imports(planted)) == 1

    @pytest.mark.parametrize(
        ("name", "source"),
        [
            ("engine/load.py", "from sinew.compile.rows import row\nfrom sinew import errors"),
            ("engine/load.py", "import sinew.engine.batch\nimport psycopg"),
            ("operators/step.py", "from airflow.sdk import BaseOperator"),
            ("dagbuild.py", "import sinew"),
        ],
    )
    def test_a_downward_import_is_allowed(self, planted: Path, name: str, source: str) -> None:
        plant(planted, name, source)
        assert upward_imports(planted) == []

    @pytest.mark.parametrize(
        "source",
        [
            "import pandas as pd",
            "from psycopg import sql",
            "if True:\n    import sqlglot",
            "class A:\n    from soda_core.contracts import x",
            "try:\n    import psycopg2.extras\nexcept ImportError: ...",
        ],
    )
    def test_a_heavy_import_at_module_level_is_found(self, planted: Path, source: str) -> None:
        plant(planted, "operators/step.py", source)
        assert len(heavy_imports(planted)) == 1

    def test_a_heavy_import_is_allowed_in_a_function_and_for_type_checkers(
        self, planted: Path
    ) -> None:
        source = (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import pandas\n"
            "def execute():\n    import psycopg\n"
        )
        plant(planted, "operators/step.py", source)
        plant(planted, "engine/load.py", "import psycopg")
        assert heavy_imports(planted) == []

    def test_a_stem_of_the_standard_library_is_found(self, planted: Path) -> None:
        plant(planted, "engine/copy.py", "")
        assert shadowing_stems(planted) == ["copy"]

    def test_a_part_without_a_floor_is_found(self, planted: Path) -> None:
        plant(planted, "utils.py", "")
        assert unknown_parts(planted) == {"utils"}
