"""Where files are: Sinew's own SQL, and the user's mappings, contracts and functions."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

PROJECT_INCLUDE = Path(__file__).resolve().parents[2] / "include"


def include_folder() -> Path:
    """The folder with mappings, contracts and SQL of the user: ``SINEW_INCLUDE``, or the project's include/."""
    configured = os.environ.get("SINEW_INCLUDE")
    return Path(configured) if configured else PROJECT_INCLUDE


def ledger_files() -> list[Path]:
    """The ledger's numbered SQL files, in their order."""
    return sorted((PROJECT_INCLUDE / "sql" / "ledger").glob("*.sql"))


@cache
def statement(name: str) -> str:
    """The text of one of Sinew's statements of fixed shape, such as ``batch/claim``."""
    return (PROJECT_INCLUDE / "sql" / f"{name}.sql").read_text(encoding="utf-8")
