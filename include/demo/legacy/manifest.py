"""What the legacy database holds, and what a migration of it must therefore find."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Defect:
    """One planted defect.

    ``source_key`` holds the row's key columns (for a keyless table, columns that single it out);
    ``scope`` is ``row`` (the row is a reject) or ``value`` (the value becomes NULL, the row stays);
    ``dependants`` counts the rows of other entities that are ``parent_rejected`` because of it.
    """

    entity: str
    source_key: Mapping[str, Any]
    kind: str
    column: str
    rule: str
    scope: str
    dependants: int


@dataclass(frozen=True)
class Figures:
    """What one entity must come to: ``source_rows = expected_loaded + sum(expected_rejects)``.

    ``expected_values`` counts values set to NULL, by rule; their rows are among the loaded ones.
    """

    entity: str
    source_rows: int
    expected_loaded: int
    expected_rejects: Mapping[str, int] = field(default_factory=dict)
    expected_values: Mapping[str, int] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Rows that must be rejected, planted and dependent ones together."""
        return sum(self.expected_rejects.values())


@dataclass(frozen=True)
class Manifest:
    """The legacy database in figures; stored in its own schema ``demo_manifest``."""

    fingerprint: str
    scale: float
    seed: int
    sales_cents: int
    rejected_sales_cents: int
    figures: tuple[Figures, ...]
    defects: tuple[Defect, ...]

    def of(self, entity: str) -> Figures:
        """The figures of one entity."""
        return next(figures for figures in self.figures if figures.entity == entity)

    def planted(self, entity: str, scope: str = "row") -> tuple[Defect, ...]:
        """The planted defects of one entity and scope."""
        return tuple(d for d in self.defects if d.entity == entity and d.scope == scope)

    def to_json(self) -> str:
        """The manifest as JSON text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The manifest that ``to_json`` wrote."""
        body = json.loads(text)
        figures = tuple(Figures(**item) for item in body.pop("figures"))
        return cls(
            figures=figures, defects=tuple(Defect(**item) for item in body.pop("defects")), **body
        )
