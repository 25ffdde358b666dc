"""Soda, run in memory on a connection of ours. Import it late: it loads Soda, which takes seconds.

Soda gets no password, no file and no say in this process's logging; it calls nobody.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

# Read when Soda is imported; with it on, Soda calls home and waits where there is no internet.
os.environ["SODA_CORE_TELEMETRY_ENABLED"] = "false"

# Soda warns its own authors of what they deprecated.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from soda_core.common.data_source_connection import DataSourceConnection
    from soda_core.common.data_source_results import QueryResult
    from soda_core.common.yaml import ContractYamlSource
    from soda_core.contracts.contract_verification import ContractVerificationSession
    from soda_postgres.common.data_sources.postgres_data_source import (
        PostgresDataSourceImpl,
        PostgresSqlDialect,
    )
    from soda_postgres.common.data_sources.postgres_data_source_connection import (
        PostgresDataSource,
    )

from sinew.errors import ConfigurationError  # noqa: E402

# Soda's YAML parser and its logger are one for the whole process: two verifications at once read
# each other's contract.
_ONE_AT_A_TIME = threading.Lock()


class _Dialect(PostgresSqlDialect, sqlglot_dialect="postgres"):  # type: ignore[misc, call-arg]
    """Postgres with any name, and without the database in front of it."""

    def quote_default(self, identifier: str | None) -> str | None:
        """The name in quotes, its own quotes doubled."""
        return '"' + identifier.replace('"', '""') + '"' if identifier else None

    def get_database_prefix_index(self) -> int | None:
        """A dataset has no database: Postgres only knows the one that is connected."""
        return None

    def get_schema_prefix_index(self) -> int | None:
        """A dataset is data source/schema/table."""
        return 0


class _Connection(DataSourceConnection):  # type: ignore[misc]
    """Our own connection in Soda's clothes; it remembers what failed, because Soda goes on."""

    def __init__(self, name: str, conn: psycopg.Connection) -> None:
        self.queries = 0
        self.errors: list[psycopg.Error] = []
        super().__init__(name, {}, connection=conn)

    def _create_connection(self, connection_yaml_dict: dict[str, Any]) -> object:
        raise psycopg.OperationalError("the connection was closed")

    def execute_query(self, sql: str, log_query: bool = True) -> QueryResult:
        """Run one query. Not Soda's own: that writes rows into its log."""
        self.queries += 1
        try:
            cursor = self.connection.execute(sql.encode())
            return QueryResult(rows=cursor.fetchall(), columns=cursor.description)
        except psycopg.Error as error:
            self.errors.append(error)
            raise

    def execute_query_one_by_one(
        self,
        sql: str,
        row_callback: Callable[..., None],
        log_query: bool = True,
        row_limit: int | None = None,
    ) -> tuple[Any, ...]:
        """Refused: Soda falls back to it to count, here, all rows of a query that just failed."""
        raise self.errors[-1] if self.errors else psycopg.NotSupportedError("row by row")


class _Complaints(logging.Handler):
    """Soda's errors of the time before it ran a query; later ones may quote rows."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error about the contract itself."""
        if not self._connection.queries:
            self.texts.append(" ".join(record.getMessage().split()))


def verify(
    conn: psycopg.Connection, data_source: str, text: str, about: str
) -> tuple[list[Any], list[psycopg.Error]]:
    """Soda's check results for a contract's text, and the database errors that Soda went past.

    Raises ConfigurationError when Soda does not take the contract.
    """
    connection = _Connection(data_source, conn)
    with _ONE_AT_A_TIME, _kept_from_logs(connection) as complaints, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        results = _results(connection, text, complaints)
    if complaints.texts:
        raise ConfigurationError(
            f"{about}: Soda does not accept the contract: {'; '.join(complaints.texts)}; "
            "allowed: Soda v4's contract language: mend the contract"
        )
    return results, connection.errors


def _results(connection: _Connection, text: str, complaints: _Complaints) -> list[Any]:
    source = PostgresDataSourceImpl(
        PostgresDataSource.model_construct(name=connection.name, type="postgres"),
        connection=connection,
    )
    source.sql_dialect = _Dialect()
    try:
        session = ContractVerificationSession.execute(
            contract_yaml_sources=[ContractYamlSource.from_str(text)],
            data_source_impls=[source],
        )
    except Exception as error:
        # Whatever Soda stumbled over, checks without a result fail the gate.
        if not connection.queries:
            complaints.texts.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return []
    return [one for result in session.contract_verification_results for one in result.check_results]


@contextmanager
def _kept_from_logs(connection: _Connection) -> Iterator[_Complaints]:
    """Nothing that Soda logs reaches the task's log, and its root handler goes again."""
    logger, root = logging.getLogger("soda"), logging.getLogger()
    complaints = _Complaints(connection)
    before, propagated = list(root.handlers), logger.propagate
    logger.propagate = False
    logger.addHandler(complaints)
    try:
        yield complaints
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagated
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
