"""Where the project's own files are: SQL, mappings and contracts under one include folder."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def include_folder() -> Path:
    """The project's include folder: ``SINEW_INCLUDE``, or the one beside plugins/."""
    configured = os.environ.get("SINEW_INCLUDE")
    return Path(configured) if configured else Path(__file__).resolve().parents[2] / "include"


@cache
def statement(name: str) -> str:
    """The text of one statement of fixed shape, such as ``batch/claim``."""
    return (include_folder() / "sql" / f"{name}.sql").read_text(encoding="utf-8")
