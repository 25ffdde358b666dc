"""The way back: which columns of the source the target could give back, were the old system to go on."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from sinew.cli.given import context_of
from sinew.cli.tables import table
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.inverse import Relation, relation_of, reversibility
from sinew.compile.undoing import GRADES
from sinew.engine import catalog
from sinew.engine.audit import audit
from sinew.engine.session import connect, translated
from sinew.errors import ConfigurationError
from sinew.spec.sync import Sync


def tell_reversibility(options: Namespace) -> int:
    """Print the grade of every source column and why; raises PreflightError where the plan cannot work."""
    context = context_of(options)
    if isinstance(context.migration, Sync):
        raise ConfigurationError(
            f"{context.migration.name} is a sync, and a sync has no way back: name a migration"
        )
    with (
        connect(context.source, read_only=True, step="reversibility") as source,
        connect(context.home, read_only=True, step="reversibility") as home,
        translated(f"reversibility of {context.migration.name}"),
    ):
        plans = audit(source, home, context.migration).plans.values()
        found = reversibility(plans, {relation_of(p) for p in plans if _is_view(source, p)})
    if options.json:
        print(json.dumps([_plain(relation) for relation in found], indent=2))
    else:
        for line in _told(found):
            print(line)
    return 0


def _is_view(source: psycopg.Connection, plan: EntityPlan) -> bool:
    table = plan.entity.source.table
    schema = plan.migration.schema_of(plan.entity.name)
    found = catalog.relation(source, schema, table) if table else None
    return found is not None and found.kind in "vm"


def _plain(relation: Relation) -> dict[str, Any]:
    return {
        "relation": relation.name,
        "entities": relation.entities,
        "columns": [
            {
                "column": way.column,
                "grade": way.grade,
                "carried_by": way.carried_by or None,
                "reasons": way.reasons,
            }
            for way in relation.columns
        ],
    }


def _told(found: Sequence[Relation]) -> Iterator[str]:
    for relation in found:
        yield f"{relation.name} ({', '.join(relation.entities)})"
        rows = [
            (way.column, way.grade, way.carried_by or None, "; ".join(way.reasons))
            for way in relation.columns
        ]
        yield from (
            f"  {line}" for line in table(["column", "comes back", "from", "what does not"], rows)
        )
        yield ""
    grades = Counter(way.grade for relation in found for way in relation.columns)
    told = ", ".join(f"{grades[grade]} {grade}" for grade in GRADES)
    yield f"{grades.total()} columns: {told}."
