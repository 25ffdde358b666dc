"""Problems of a mapping before they have a place: a path in the file and what is wrong there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sinew.errors import Problem
from sinew.spec.positions import Path, Positions


@dataclass(frozen=True)
class Finding:
    """One problem at ``path``; ``at_key`` points to the key instead of its value.

    ``unknown_key`` is a key in the map at ``path`` that should not be there.
    """

    path: Path
    message: str
    at_key: bool = False
    unknown_key: str | None = None

    def place(self, positions: Positions) -> Problem:
        """The same with file, line and column."""
        if self.unknown_key is not None:
            return Problem(positions.key((*self.path, self.unknown_key)), self.message)
        found = positions.key(self.path) if self.at_key else positions.value(self.path)
        return Problem(found, self.message)


def unknown(what: str, seen: str, allowed: Iterable[str], remedy: str) -> str:
    """A message about a name that is not there, with the nearest one that is."""
    names = list(allowed)
    near = difflib.get_close_matches(seen, names, n=1, cutoff=0.6)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {seen!r} is not known; allowed: {', '.join(names) or 'none'}{guess}: {remedy}"


def show(value: Any) -> str:
    """A value in a message: short, and its kind when it is a map or a list."""
    if isinstance(value, dict):
        return f"a map of {len(value)}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing (null)"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 80 else text[:77] + "..."
