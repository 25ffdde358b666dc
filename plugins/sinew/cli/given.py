"""What a command line names: a mapping, its connections, its phases."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError
from sinew.hooks.connections import endpoint, endpoint_from_env
from sinew.hooks.lookup import variable
from sinew.hooks.mappings import read_migration
from sinew.spec import Migration, read_mapping
from sinew.spec.includes import include_root
from sinew.spec.pipeline import Pipeline


def migration_of(options: Namespace) -> Migration:
    """The mapping that was named, by a name or by a path."""
    given: str = options.mapping
    if not given.endswith((".yaml", ".yml")) and os.sep not in given:
        return read_migration(given)
    path = Path(given)
    # The engine looks for contracts and functions in the same folder as the reader.
    os.environ["SINEW_INCLUDE"] = str(include_root(path))
    return read_mapping(path)


def context_of(options: Namespace) -> Context:
    """The mapping with both its databases."""
    migration = migration_of(options)
    return Context(
        migration,
        endpoint_of(migration.source.conn),
        endpoint_of(migration.target.conn),
        getattr(options, "parallelism", None),
    )


def endpoint_of(conn_id: str) -> Endpoint:
    """A connection by its variable; without one, as Airflow knows it."""
    if knows_variable(conn_id):
        return endpoint_from_env(conn_id)
    try:
        return endpoint(conn_id)
    except ModuleNotFoundError:
        return endpoint_from_env(conn_id)


def knows_variable(conn_id: str) -> bool:
    """Whether a connection is given by its variable."""
    return bool(os.environ.get(variable(conn_id)))


def phases_of(migration: Pipeline, given: Sequence[str] | None) -> list[str]:
    """The phases that were named, in the mapping's order; all of them when none was."""
    names = [phase.name for phase in migration.phases]
    unknown = [name for name in given or () if name not in names]
    if unknown:
        raise ConfigurationError(
            f"{migration.name} has no phase {', '.join(unknown)}; it has: {', '.join(names)}: "
            "choose among them"
        )
    return [name for name in names if given is None or name in given]


def entity_of(migration: Pipeline, given: str) -> str:
    """An entity that was named."""
    if given not in migration.entities:
        raise ConfigurationError(
            f"{migration.name} has no entity {given!r}; it has: {', '.join(migration.entities)}: "
            "choose one of them"
        )
    return given
