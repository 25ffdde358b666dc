"""JSONPath queries (RFC 9535), with a short way for the usual ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.segments import JSONPathChildSegment
from jsonpath.selectors import IndexSelector, NameSelector, WildcardSelector
from pydantic import BaseModel

from sinew.errors import ConfigurationError
from sinew.spec.exchange import PathText

_environment = JSONPathEnvironment(strict=True)


class Missing:
    """What a path finds where nothing is; unlike None, which is JSON's null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


class Query:
    """A compiled path.

    ``steps`` are the names and indexes of a path that leads to one place, and ``wild`` says that
    all elements there are meant; other paths are left to the library (a hundred times slower).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._compiled = _compiled(text)
        self.steps: tuple[str | int, ...] | None
        self.steps, self.wild = _simple(self._compiled.segments) or (None, False)
        self._leading = _leading_steps(self._compiled.segments)

    @property
    def singular(self) -> bool:
        """Whether the path leads to one place at most."""
        return self.steps is not None and not self.wild

    def first(self, root: Any) -> Any:
        """The first value found, or MISSING."""
        if self.singular:
            return _walk(root, self.steps or ())
        return next(iter(self.values(root)), MISSING)

    def values(self, root: Any) -> list[Any]:
        """All values found, in order."""
        if self.steps is None:
            return [match.obj for match in self._compiled.finditer(root)]
        place = _walk(root, self.steps)
        if not self.wild:
            return [] if place is MISSING else [place]
        return _elements(place)

    def records(self, root: Any) -> list[Any] | None:
        """What the path means as a list of records: one array stands for its elements.

        None when there is nothing (or null) where the records should be.
        """
        if self.steps is None:
            # A filter may let nothing through, but there must be something that it is put to.
            start = _walk(root, self._leading)
            return None if start is MISSING or start is None else self.values(root)
        place = _walk(root, self.steps)
        if place is MISSING or place is None:
            return None
        if self.wild:
            return _elements(place) if isinstance(place, list | dict) else None
        return place if isinstance(place, list) else [place]


def _compiled(text: str) -> JSONPath:
    try:
        compiled = _environment.compile(text)
    except JSONPathError as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"{text!r} is no JSONPath: {reason}; allowed: RFC 9535, such as $.data[*]: correct it"
        ) from None
    if not isinstance(compiled, JSONPath):
        raise ConfigurationError(f"{text!r} joins several paths: write one (RFC 9535)")
    return compiled


def _simple(segments: Any) -> tuple[tuple[str | int, ...], bool] | None:
    steps: list[str | int] = []
    for i, segment in enumerate(segments):
        if type(segment) is not JSONPathChildSegment or len(segment.selectors) != 1:
            return None
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector):
            steps.append(selector.index)
        elif isinstance(selector, WildcardSelector) and i == len(segments) - 1:
            return tuple(steps), True
        else:
            return None
    return tuple(steps), False


def _leading_steps(segments: Any) -> tuple[str | int, ...]:
    """The names and indexes before the first step that may lead to several places."""
    steps: list[str | int] = []
    for segment in segments:
        found = _simple([segment])
        if found is None or found[1]:
            break
        steps += found[0]
    return tuple(steps)


def _walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def _elements(place: Any) -> list[Any]:
    if isinstance(place, list):
        return place
    return list(place.values()) if isinstance(place, dict) else []


@lru_cache(maxsize=1024)
def query(text: str) -> Query:
    """The compiled path; raises ConfigurationError for one that is malformed."""
    return Query(text)


def broken_paths(model: BaseModel) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every malformed JSONPath of a resource or delivery: (place in the model, message)."""
    yield from _broken(model, ())


def _broken(
    value: Any, place: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, PathText):
        try:
            query(value)
        except ConfigurationError as error:
            yield place, str(error)
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _broken(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _broken(item, (*place, name))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _broken(item, (*place, i))
