"""Preflight: can these two servers serve the plan? Says exactly what is missing, before a row moves."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sinew.engine import catalog
from sinew.errors import PreflightError, Problem
from sinew.paths import statement
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import Sync

OLDEST_HOME = 16
OLDEST_SOURCE = 12


def preflight(
    source: psycopg.Connection, home: psycopg.Connection, migration: Pipeline
) -> list[str]:
    """Check versions, settings and privileges; raises with all findings, returns what a person should know."""
    problems = [*_servers(source, home, migration), *_ledger_privileges(home, migration)]
    problems += _source_privileges(source, migration)
    if problems:
        raise PreflightError(problems)
    return _hazards(home, migration)


def _servers(
    source: psycopg.Connection, home: psycopg.Connection, migration: Pipeline
) -> list[Problem]:
    ours, theirs = catalog.server(home), catalog.server(source)
    at_source, at_target = (
        migration.location("source", "conn"),
        migration.location("target", "conn"),
    )
    found = []
    if ours.major < OLDEST_HOME:
        found.append(
            Problem(
                at_target, f"the target is PostgreSQL {ours.major}; allowed: {OLDEST_HOME} or later"
            )
        )
    if theirs.major < OLDEST_SOURCE:
        found.append(
            Problem(
                at_source,
                f"the source is PostgreSQL {theirs.major}; allowed: {OLDEST_SOURCE} or later",
            )
        )
    if ours.fsync != "on":
        found.append(
            Problem(
                at_target,
                "the target runs with fsync off, so a crash could lose what the ledger says is there; set it on",
            )
        )
    if theirs.in_recovery:
        found.append(
            Problem(
                at_source,
                "the source is a standby, whose snapshots cannot be trusted: name the primary",
            )
        )
    return found


def _ledger_privileges(home: psycopg.Connection, migration: Pipeline) -> list[Problem]:
    row = home.execute(
        "SELECT has_database_privilege(current_database(), 'CREATE'), "
        "has_database_privilege(current_database(), 'TEMPORARY'), current_database()"
    ).fetchone()
    create, temporary, database = row or (False, False, "")
    user = sql.Identifier(home.info.user).as_string(None)
    name = sql.Identifier(database).as_string(None)
    missing = [word for word, has in (("CREATE", create), ("TEMPORARY", temporary)) if not has]
    location = migration.location("target", "conn")
    return [
        Problem(
            location,
            f"the ledger needs a privilege. Run: GRANT {word} ON DATABASE {name} TO {user}",
        )
        for word in missing
    ]


def _source_privileges(source: psycopg.Connection, migration: Pipeline) -> list[Problem]:
    if isinstance(migration, Sync) and migration.reads_api:
        return []
    schemas = sorted({migration.schema_of(name) for name in migration.entities})
    user = sql.Identifier(source.info.user).as_string(None)
    rows = source.execute(
        "SELECT want, n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false) "
        "FROM unnest(%s::text[]) AS want LEFT JOIN pg_namespace AS n ON n.nspname = want",
        (schemas,),
    ).fetchall()
    location = migration.location("source")
    found = []
    for schema, exists, usable in rows:
        name = sql.Identifier(schema).as_string(None)
        if not exists:
            found.append(Problem(location, f"the source has no schema {schema}: mend `schema`"))
        elif not usable:
            found.append(
                Problem(
                    location, f"a privilege is missing. Run: GRANT USAGE ON SCHEMA {name} TO {user}"
                )
            )
    return found


def _hazards(home: psycopg.Connection, migration: Pipeline) -> list[str]:
    """Triggers, rules and cascades that change rows behind the ledger's back; validate notices what they do."""
    if isinstance(migration, Sync) and migration.delivers:
        return []
    tables = sorted({entity.into for entity in migration.entities.values()})
    rows = home.execute(
        statement("catalog/target_hazards"),
        {"schema": migration.target.schema_name, "tables": tables},
    ).fetchall()
    return [
        f"{table} has a {what} ({name}): a row that it changes after the load is reported as a mismatch"
        for table, what, name in rows
    ]
