"""The statements beside this file, by name."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString, cast

HERE = Path(__file__).parent


def statement(name: str) -> LiteralString:
    """Text of ``<name>.sql``; the files are part of the project, so the text is trusted."""
    return cast(LiteralString, (HERE / f"{name}.sql").read_text(encoding="utf-8"))
