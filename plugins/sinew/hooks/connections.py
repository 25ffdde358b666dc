"""Airflow connections, turned into endpoints; secrets never reach a log, an error or a repr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinew.errors import ConfigurationError
from sinew.hooks.lookup import Parts, Purpose, from_airflow, from_env

if TYPE_CHECKING:
    from sinew.engine.session import Endpoint

_TYPES = ("postgres", "postgresql")
EXAMPLE = "postgres://user:password@host:5432/database"
_PURPOSE = Purpose("the mapping names connection", EXAMPLE)
# Keys of ``extra`` that tell Airflow's own hook what to do and mean nothing to libpq.
_FOR_HOOKS = frozenset(
    [
        "aws_conn_id",
        "cluster-identifier",
        "cursor",
        "iam",
        "redshift",
        "region_name",
        "sqlalchemy_scheme",
    ]
)


def endpoint(conn_id: str, purpose: Purpose = _PURPOSE) -> Endpoint:
    """The database of an Airflow connection. Raises ConfigurationError when it is not usable."""
    return _endpoint(from_airflow(conn_id, purpose), purpose)


def endpoint_from_env(conn_id: str, purpose: Purpose = _PURPOSE) -> Endpoint:
    """The database of the variable AIRFLOW_CONN_<ID>, a URI or JSON, without any Airflow."""
    return _endpoint(from_env(conn_id, purpose), purpose)


def _endpoint(parts: Parts, purpose: Purpose) -> Endpoint:
    from sinew.engine.session import Endpoint

    if parts.conn_type not in _TYPES:
        raise ConfigurationError(
            f"connection {parts.conn_id!r} has the type {parts.conn_type!r}; a database needs "
            f"postgres: delete it and {purpose.how_to_add(parts.conn_id)}"
        )
    return Endpoint(parts.conn_id, _conninfo(parts))


def _conninfo(parts: Parts) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    extra = {name: value for name, value in parts.extra.items() if name not in _FOR_HOOKS}
    named = {
        "host": parts.host,
        "port": parts.port,
        "user": parts.login,
        "password": parts.password,
        "dbname": parts.schema,
    }
    given = {name: value for name, value in (extra | named).items() if value not in (None, "")}
    try:
        return make_conninfo(**given)
    except ProgrammingError:
        raise ConfigurationError(
            f"the extra of connection {parts.conn_id!r} has {', '.join(sorted(extra))}; allowed: libpq's "
            "parameters, such as sslmode and sslrootcert: remove what is none"
        ) from None
