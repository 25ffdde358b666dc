"""What can still be checked in a mapping that has errors, so that all problems are told at once.

Each broken part gives way to a harmless one; what is then found about a part that was put in
its place, or that refers to it, is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from sinew.spec.columns import RefColumn
from sinew.spec.findings import Finding
from sinew.spec.models import Migration
from sinew.spec.pipeline import Pipeline
from sinew.spec.positions import Path

_REQUIRED: dict[str, Any] = {
    "source": {"conn": "x"},
    "target": {"conn": "x"},
}
_ENTITY = {"from": "x", "key": ["x"], "columns": {"x": {"key": "copy"}}}
_COLUMN = {"value": None}
_NAMING = frozenset({"cohort", "contracts", "reconcile"})
_PHASES = frozenset({"phases", "cohort", "strategy"})


@dataclass
class Salvage:
    """A mapping without its broken parts, and which parts those were."""

    data: dict[str, Any]
    entities: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    mapping: Pipeline | None = None

    def trusts(self, finding: Finding) -> bool:
        """Whether a finding about the salvaged mapping holds for the one that was written."""
        top = finding.path[0] if finding.path else ""
        if top in self.keys or (top in _PHASES and self.keys & _PHASES):
            return False
        about = self._about(finding.path)
        # A name that was taken out is not an unknown name, so no list of names can be trusted.
        return not (about & self.entities or (self.deleted and top in _NAMING))

    def _about(self, path: Path) -> set[str | None]:
        """The entities whose declarations decide about the value at ``path``."""
        if self.mapping is None or len(path) < 2:
            return set()
        if path[0] == "reconcile":
            check = self.mapping.reconcile[int(path[1])]
            return {check.through, check.rejected.entity if check.rejected else None}
        if path[0] != "entities":
            return set()
        columns = self.mapping.entities[str(path[1])].columns
        column = columns.get(str(path[3])) if len(path) > 3 else None
        return {str(path[1]), column.entity if isinstance(column, RefColumn) else None}


def salvage(
    data: dict[str, Any], findings: Iterable[Finding], kind: type[Pipeline] = Migration
) -> Salvage:
    """Take the broken parts out of ``data``; ``mapping`` stays None when nothing can be saved."""
    result = Salvage(copy.deepcopy(data))
    for finding in findings:
        _take_out(result, finding)
    for key, value in {str(kind.model_fields["name"].alias): "x", **_REQUIRED}.items():
        result.data.setdefault(key, value)
    try:
        result.mapping = kind.model_validate(result.data)
    except ValidationError:
        result.mapping = None
    return result


def _take_out(result: Salvage, finding: Finding) -> None:
    path = finding.path
    if finding.unknown_key is not None:
        _drop(result.data, (*path, finding.unknown_key))
    elif len(path) > 1 and path[0] == "entities":
        _replace_in_entity(result, path, finding.at_key)
    elif path:
        result.keys.add(str(path[0]))
        result.data.pop(str(path[0]), None)


def _replace_in_entity(result: Salvage, path: Path, at_key: bool) -> None:
    name = str(path[1])
    entities = result.data.get("entities", {})
    result.entities.add(name)
    if len(path) == 2 and at_key and name in entities:
        del entities[name]
        result.deleted.add(name)
        return
    entity = entities.get(name)
    columns = entity.get("columns") if isinstance(entity, dict) else None
    if len(path) > 3 and path[2] == "columns" and isinstance(columns, dict):
        columns[path[3]] = _COLUMN
    elif name in entities:
        entities[name] = copy.deepcopy(_ENTITY)


def _drop(data: Any, path: Path) -> None:
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data.pop(path[-1], None)
