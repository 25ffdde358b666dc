"""YAML to plain values, with the place of every key and value.

Stricter than YAML 1.1, so that a file means what it looks like: only ``true`` and ``false`` are
truth values, only plain decimal numbers are numbers, dates stay texts, keys are always texts, and
a key that is written twice, a tag and a merge key (``<<``) are problems.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from sinew.errors import Location, Problem

Path = tuple[str | int, ...]

# An alias can stand for a tree of aliases; no mapping is near this size.
_MOST_NODES = 100_000

# Under these keys a scalar means the very characters that were written: `{map: {A: 01}}`.
_VERBATIM_STEPS = frozenset({"map", "nullif", "to_bool", "concat"})

_NULL, _BOOL = "tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_SEQ, _MAP = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader with fewer implicit types."""

    yaml_implicit_resolvers: dict[str, Any] = {}


_RESOLVED = (
    (_NULL, r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (_BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    (_INT, r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    (_FLOAT, r"^-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?$", list("-0123456789")),
    (_MERGE, r"^<<$", ["<"]),
)
for _tag, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


@dataclass
class Positions:
    """Where each key and each value of a file was written; empty for a mapping made in memory."""

    file: str = "<memory>"
    keys: dict[Path, Location] = field(default_factory=dict)
    values: dict[Path, Location] = field(default_factory=dict)

    def value(self, path: Path) -> Location:
        """The place of the value at ``path``, or of the nearest value around it."""
        return self._nearest(self.values, path)

    def key(self, path: Path) -> Location:
        """The place of the key at ``path``; of the value where there is no key, as in a list."""
        return self.keys[path] if path in self.keys else self.value(path)

    def _nearest(self, places: dict[Path, Location], path: Path) -> Location:
        for length in range(len(path), -1, -1):
            if path[:length] in places:
                return places[path[:length]]
        return Location(self.file)


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, where they were written, and what is wrong with the YAML."""

    data: Any
    positions: Positions
    problems: tuple[Problem, ...]


def load_document(text: str, file: str) -> Document:
    """Read one YAML document; problems are returned, not raised."""
    positions = Positions(file)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        return Document(None, positions, (_yaml_problem(error, file),))
    except (yaml.YAMLError, RecursionError) as error:
        what = f"the file is no YAML: {error}: save it as plain UTF-8 text"
        return Document(None, positions, (Problem(Location(file), what),))
    if node is None:
        what = "the file is empty; a mapping begins with `migration: <name>`: write or delete it"
        return Document(None, positions, (Problem(Location(file), what),))
    builder = _Builder(positions)
    data = builder.build(node, ())
    return Document(data, positions, tuple(builder.problems))


def _yaml_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file)
    context = f" {error.context}" if error.context else ""
    return Problem(
        place,
        f"the YAML cannot be read:{context}: {error.problem}; allowed: one YAML document of maps, "
        "lists and scalars: check the indentation and the quotes on this line and the one above",
    )


class _Builder:
    """Turns nodes into values and writes down where each one is."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.problems: list[Problem] = []
        self._open: list[yaml.Node] = []
        self._count = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        """The node's value; a node that cannot be taken becomes None and a problem."""
        self.positions.values[path] = place = self._place(node)
        self._count += 1
        if any(node is other for other in self._open) or self._count > _MOST_NODES:
            message = "an alias leads into itself or grows without end: write the value out"
            return self._problem(place, message)
        self._open.append(node)
        try:
            return self._value(node, path, place)
        finally:
            self._open.pop()

    def _value(self, node: yaml.Node, path: Path, place: Location) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._map(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return _scalar(node, path)
        return self._problem(
            place, f"the tag {node.tag!r} is not allowed; a mapping has no tags: remove it"
        )

    def _map(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key is None:
                continue
            place = self._place(key_node)
            if key in data:
                first = self.positions.keys[(*path, key)]
                self._problem(
                    place,
                    f"the key {key!r} is here twice, first on line {first.line}; a key may stand "
                    "once: rename or remove one of them",
                )
                continue
            self.positions.keys[(*path, key)] = place
            data[key] = self.build(value_node, (*path, key))
        return data

    def _key(self, node: yaml.Node) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return str(node.value)
        what = "a merge key (<<)" if node.tag == _MERGE else "a key that is no text"
        self._problem(self._place(node), f"{what} is not allowed: write each key out")
        return None

    def _place(self, node: yaml.Node) -> Location:
        mark = node.start_mark
        return Location(self.positions.file, mark.line + 1, mark.column + 1)

    def _problem(self, place: Location, message: str) -> Any:
        self.problems.append(Problem(place, message))
        return None


_SCALARS = frozenset({_STR, _NULL, _BOOL, _INT, _FLOAT})


def _scalar(node: yaml.ScalarNode, path: Path) -> Any:
    text = str(node.value)
    # `on_error: null` means the word; an empty `on_error:` stays empty and is refused.
    if path[-1:] == ("on_error",):
        return text
    if node.tag == _NULL:
        return None
    if node.tag == _STR or _is_verbatim(path):
        return text
    if node.tag == _BOOL:
        return text.lower() == "true"
    return int(text) if node.tag == _INT else float(text)


def _is_verbatim(path: Path) -> bool:
    return any(
        name == "do" and len(path) > i + 2 and path[i + 2] in _VERBATIM_STEPS
        for i, name in enumerate(path)
    )
