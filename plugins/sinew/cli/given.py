"""What a command line names: a mapping, its connections, its phases."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.errors import ConfigurationError
from sinew.hooks.connections import endpoint, endpoint_from_env
from sinew.hooks.lookup import variable
from sinew.hooks.mappings import read_pipeline
from sinew.spec import Migration, read_mapping
from sinew.spec.includes import include_root
from sinew.spec.pipeline import Pipeline
from sinew.spec.reader import kind_of
from sinew.spec.sync import Sync

if TYPE_CHECKING:
    from sinew.engine.steps import OpenApi


def pipeline_of(options: Namespace) -> Pipeline:
    """The mapping that was named, by a name or by a path; a file in a folder ``syncs`` is a sync."""
    given: str = options.mapping
    if not given.endswith((".yaml", ".yml")) and os.sep not in given:
        return read_pipeline(given)
    path = Path(given)
    # The engine looks for contracts and functions in the same folder as the reader.
    os.environ["SINEW_INCLUDE"] = str(include_root(path))
    return read_mapping(path, kind=kind_of(path.resolve().parent))


def migration_of(options: Namespace) -> Migration:
    """The migration that was named; a sync is refused."""
    found = pipeline_of(options)
    if not isinstance(found, Migration):
        raise ConfigurationError(
            f"{found.name} is a sync, but this command is for migrations; of a sync, `run`, `status`, "
            "`explain`, `audit` and `redeliver` can be asked: use one of them"
        )
    return found


def sync_of(options: Namespace) -> Sync:
    """The sync that was named; a migration is refused."""
    found = pipeline_of(options)
    if not isinstance(found, Sync):
        raise ConfigurationError(
            f"{found.name} is a migration, but this command is for syncs: name a sync"
        )
    return found


def context_of(options: Namespace) -> Context:
    """The mapping with both its ends."""
    found = pipeline_of(options)
    parallelism = getattr(options, "parallelism", None)
    if isinstance(found, Sync):
        return _sync_context(found, parallelism)
    return Context(
        found, endpoint_of(found.source.conn), endpoint_of(found.target.conn), parallelism
    )


def migration_context(options: Namespace) -> Context:
    """The same of a migration alone; a sync is refused."""
    migration_of(options)
    return context_of(options)


def _sync_context(sync: Sync, parallelism: int | None) -> Context:
    home = endpoint_of(sync.home_conn)
    api = sync.source.api or sync.target.api
    # An API's records land in the home database, which is then all that the engine reads from.
    source = endpoint_of(sync.source.conn) if sync.source.conn else home
    return Context(sync, source, home, parallelism, opener_of(api) if api else None)


def opener_of(conn_id: str) -> OpenApi:
    """How a connection's API is opened, by its variable; without one, as Airflow knows it."""
    from sinew.hooks.apis import api_opener, api_opener_from_env

    if knows_variable(conn_id):
        return api_opener_from_env(conn_id)
    _ask_as_airflow()
    try:
        import airflow.sdk  # noqa: F401
    except ModuleNotFoundError:
        return api_opener_from_env(conn_id)
    return api_opener(conn_id)


def endpoint_of(conn_id: str) -> Endpoint:
    """A connection by its variable; without one, as Airflow knows it."""
    if knows_variable(conn_id):
        return endpoint_from_env(conn_id)
    _ask_as_airflow()
    try:
        return endpoint(conn_id)
    except ModuleNotFoundError:
        return endpoint_from_env(conn_id)


def _ask_as_airflow() -> None:
    """Let Airflow look into its own database, as its command `airflow connections` does."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


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
