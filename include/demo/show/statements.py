"""The statements of ``sql/``, by name."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString, cast

_FOLDER = Path(__file__).parent / "sql"


def statement(name: str) -> LiteralString:
    """Text of ``sql/<name>.sql``; the files are part of the project, so the text is trusted."""
    return cast(LiteralString, (_FOLDER / f"{name}.sql").read_text(encoding="utf-8"))
