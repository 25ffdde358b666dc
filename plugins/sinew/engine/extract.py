"""Extract: raw rows of one batch from the source into landing, with the source's own hash of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import psycopg
from psycopg import sql

from sinew.compile import record_sql
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.expressions import without_semicolon
from sinew.compile.table_sql import create_landing, landing_table, python_table, staging_table
from sinew.compile.transform_sql import copy_from_source, copy_to_landing, landing_evidence
from sinew.engine import catalog
from sinew.engine.batch import Batch, advance, make_anew
from sinew.engine.session import translated
from sinew.errors import ConfigurationError, MismatchError
from sinew.paths import statement


@contextmanager
def source_snapshot(source: psycopg.Connection) -> Iterator[tuple[str, str, str]]:
    """One REPEATABLE READ, READ ONLY transaction; yields (snapshot, log position, server identity).

    On the primary only: a standby's snapshot text leaves running transactions out and calls them visible.
    """
    source.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        if source.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
            raise ConfigurationError(
                "the source is a standby, whose snapshots cannot be trusted: name the primary in the connection"
            )
        snapshot, position, started = source.execute(statement("catalog/snapshot")).fetchone() or (
            "",
            "",
            "",
        )
        yield snapshot, position, f"{_system(source)}/{started}"
    finally:
        if not source.closed:
            source.rollback()


def _system(source: psycopg.Connection) -> str:
    """System identifier and timeline; '?' where the role may not ask for them."""
    allowed = source.execute(
        "SELECT has_function_privilege('pg_control_system()', 'execute') "
        "AND has_function_privilege('pg_control_checkpoint()', 'execute')"
    ).fetchone()
    if allowed != (True,):
        return "?"
    row = source.execute(
        "SELECT system_identifier::text || '/' || timeline_id FROM pg_control_system(), pg_control_checkpoint()"
    ).fetchone()
    return str(row[0]) if row else "?"


def extract_records(
    home: psycopg.Connection, plan: EntityPlan, batch: Batch, fetch_id: int, began: float
) -> None:
    """Fill landing anew from an API's records that were fetched, and prove it."""
    tables = [landing_table(batch.id), staging_table(batch.id), python_table(batch.id)]
    with translated(f"extract {batch.title}"):
        make_anew(home, batch, tables, [create_landing(plan, batch.id)])
        with home.transaction():
            counted = home.execute(record_sql.count_records(plan, fetch_id)).fetchone() or (0,)
            landed = home.execute(record_sql.insert_landing(plan, batch.id, fetch_id)).rowcount
            began_at = home.execute(
                "SELECT began_at FROM sinew.fetch WHERE id = %s", (fetch_id,)
            ).fetchone() or (None,)
            rows, total, differing = home.execute(landing_evidence(plan, batch.id)).fetchone() or (
                0,
                0,
                0,
            )
            if rows != landed or differing:
                raise MismatchError(
                    f"extract {batch.title}: {landed} records were read out, {rows} landed, {differing} of "
                    "them with another hash"
                )
            advance(
                home,
                batch,
                "extracted",
                "extract",
                monotonic() - began,
                read_at=began_at[0],
                source_rows=rows,
                source_hash=total,
                repeated_rows=counted[0] - rows,
            )


def extract(
    source: psycopg.Connection, home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> None:
    """Fill landing anew and prove it: same rows, and every hash computed here equals the source's."""
    began = monotonic()
    tables = [landing_table(batch.id), staging_table(batch.id), python_table(batch.id)]
    with translated(f"extract {batch.title}"):
        make_anew(home, batch, tables, [create_landing(plan, batch.id)])
        _fill(source, home, plan, batch, began)


def _fill(
    source: psycopg.Connection,
    home: psycopg.Connection,
    plan: EntityPlan,
    batch: Batch,
    began: float,
) -> None:
    with home.transaction():
        # Before the source's snapshot: what began later may know more, and never less.
        read_at = home.execute("SELECT clock_timestamp()").fetchone() or (None,)
        with source_snapshot(source) as (snapshot, position, system):
            _require_same_types(source, plan)
            sent, size = pipe(source, home, plan, batch)
            # Once more under the lock that reading took: eight bytes are a bigint here and a timestamptz there.
            _require_same_types(source, plan)
        rows, total, differing = home.execute(landing_evidence(plan, batch.id)).fetchone() or (
            0,
            0,
            0,
        )
        if rows != sent or differing:
            raise MismatchError(
                f"extract {batch.title}: the source sent {sent} rows, {rows} landed, {differing} of them with "
                "another hash than the source computed; look for a collation, encoding or version difference, "
                "or set `hash: text` in the mapping"
            )
        advance(
            home,
            batch,
            "extracted",
            "extract",
            monotonic() - began,
            read_at=read_at[0],
            source_snapshot=snapshot,
            source_system=system,
            source_lsn=position,
            source_rows=rows,
            source_hash=total,
            bytes=size,
        )


def _require_same_types(source: psycopg.Connection, plan: EntityPlan) -> None:
    """What binary COPY carries means what it did when the entity was planned."""
    name = plan.entity.name
    relation = plan.entity.source
    if relation.table is None:
        facts = catalog.described(source, sql.SQL(without_semicolon(relation.text)))
    else:
        found = catalog.relation(source, plan.migration.schema_of(name), relation.table)
        facts = catalog.columns(source, found.oid) if found else ()
    now = {fact.name: fact.type.sql for fact in facts}
    other = [
        f"{column.name} was {column.source_type.sql} and is {now[column.name]}"
        for column in plan.landed
        if now.get(column.name, column.source_type.sql) != column.source_type.sql
    ]
    if other:
        raise ConfigurationError(
            f"columns of {name} changed their type in the source since they were planned ({', '.join(other)}): "
            "start a new run, which plans anew"
        )


def pipe(
    source: psycopg.Connection, home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> tuple[int, int]:
    """Pump binary COPY from source to landing; returns rows as the source counts them, and bytes.

    Little is kept: the worker's memory does not grow with the batch.
    """
    with source.cursor() as reader, home.cursor() as writer:
        with (
            reader.copy(copy_from_source(plan, batch.phase, batch.range)) as outgoing,
            writer.copy(copy_to_landing(plan, batch.id)) as incoming,
        ):
            size = pump(outgoing, incoming)
        return reader.rowcount, size


# A COPY arrives row by row; sent on row by row it costs the worker twice the work.
_BUFFER = 64 * 1024


def pump(outgoing: psycopg.Copy, incoming: psycopg.Copy) -> int:
    """Send everything that one COPY gives into another; returns its bytes."""
    size, buffer = 0, bytearray()
    for chunk in outgoing:
        buffer += chunk
        if len(buffer) >= _BUFFER:
            size += len(buffer)
            incoming.write(buffer)
            buffer.clear()
    incoming.write(buffer)
    return size + len(buffer)
