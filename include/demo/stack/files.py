"""Small files that survive a crash: written beside their place, then moved over it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_private(path: Path, text: str) -> None:
    """Replace a file's text in one step; only its owner may read it (mode 600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp creates with mode 600: at no moment can another user open the text.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no file."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, mode 600."""
    write_private(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, waiting for it, so that two commands never start one server twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
