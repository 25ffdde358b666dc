"""The ledger's schema and what is kept about mappings, entities and phases."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from pydantic import TypeAdapter

from sinew.compile.entity_plan import EntityFacts, EntityPlan
from sinew.engine.batch import MAPPING_LOCK
from sinew.errors import ConfigurationError, PlanChangedError
from sinew.paths import ledger_files
from sinew.spec.pipeline import Pipeline

_FACTS = TypeAdapter(EntityFacts)


def upgrade(home: psycopg.Connection) -> list[str]:
    """Apply the ledger's SQL files that this database lacks; each commits together with its record."""
    applied: list[str] = []
    with home.transaction():
        home.execute("SELECT pg_advisory_xact_lock(%s, 0)", (MAPPING_LOCK,))
        known = _applied(home)
        for file in ledger_files():
            if file.name not in known:
                home.execute(file.read_text(encoding="utf-8"))
                home.execute("INSERT INTO sinew.version (file) VALUES (%s)", (file.name,))
                applied.append(file.name)
        # What may be dropped by hand, at the price of moving or proving again.
        home.execute("CREATE SCHEMA IF NOT EXISTS sinew_stage")
        home.execute("CREATE SCHEMA IF NOT EXISTS sinew_rows")
    return applied


def _applied(home: psycopg.Connection) -> set[str]:
    if home.execute("SELECT to_regclass('sinew.version')").fetchone() == (None,):
        return set()
    return {row[0] for row in home.execute("SELECT file FROM sinew.version")}


def lock_mapping(home: psycopg.Connection, mapping: str) -> None:
    """Hold a mapping until the transaction ends: one planner at a time."""
    home.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (MAPPING_LOCK, mapping))


def activate(home: psycopg.Connection, migration: Pipeline) -> str:
    """Make this text of the mapping the active one; returns its fingerprint.

    A big bang that comes back to a text of before has its tables still to swap.
    """
    fingerprint = migration.fingerprint()
    home.execute(
        "UPDATE sinew.mapping SET active = false, swapped_at = CASE WHEN fingerprint = %s THEN swapped_at END "
        "WHERE name = %s",
        (fingerprint, migration.name),
    )
    home.execute(
        "INSERT INTO sinew.mapping (name, fingerprint, body) VALUES (%s, %s, %s) "
        "ON CONFLICT (name, fingerprint) DO UPDATE SET active = true, activated_at = now()",
        (migration.name, fingerprint, migration.canonical()),
    )
    return fingerprint


def require_active(home: psycopg.Connection, migration: Pipeline) -> None:
    """Refuse to work from a mapping that is not the one that was planned."""
    row = home.execute(
        "SELECT fingerprint FROM sinew.mapping WHERE name = %s AND active", (migration.name,)
    ).fetchone()
    if row is None:
        raise ConfigurationError(
            f"mapping {migration.name} was never planned here: start a run from its plan task"
        )
    if row[0] != migration.fingerprint():
        raise PlanChangedError(
            f"mapping {migration.name} changed since this run was planned (planned {row[0][:12]}, read "
            f"{migration.fingerprint()[:12]}): start a new run, which moves just what the change concerns"
        )


def save_facts(home: psycopg.Connection, plan: EntityPlan, fingerprint: str) -> None:
    """Keep an entity's facts, so that every step works from what was planned."""
    home.execute(
        "INSERT INTO sinew.entity (mapping, entity, fingerprint, facts) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (mapping, entity) DO UPDATE "
        "SET fingerprint = excluded.fingerprint, facts = excluded.facts, planned_at = now()",
        (plan.migration.name, plan.entity.name, fingerprint, _FACTS.dump_json(plan.facts).decode()),
    )


@dataclass(frozen=True)
class Planned:
    """An entity as it was planned, with its fingerprint."""

    plan: EntityPlan
    fingerprint: str


def planned(home: psycopg.Connection, migration: Pipeline, entity: str) -> Planned:
    """An entity's plan, from the mapping and the facts in the ledger."""
    row = home.execute(
        "SELECT fingerprint, facts::text FROM sinew.entity WHERE mapping = %s AND entity = %s",
        (migration.name, entity),
    ).fetchone()
    if row is None:
        raise ConfigurationError(
            f"entity {entity} of {migration.name} was never planned here: run the plan task"
        )
    shadow = migration.strategy == "big_bang" and not swapped(home, migration)
    facts = _FACTS.validate_json(row[1])
    return Planned(EntityPlan(migration, migration.entities[entity], facts, shadow), row[0])


def swapped(home: psycopg.Connection, migration: Pipeline) -> bool:
    """Whether a big bang has exchanged its tables already."""
    row = home.execute(
        "SELECT swapped_at IS NOT NULL FROM sinew.mapping WHERE name = %s AND active",
        (migration.name,),
    ).fetchone()
    return row == (True,)
