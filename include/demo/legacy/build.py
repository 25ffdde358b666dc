"""The demo's two databases: an old retail system full of real data, and an empty new one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as arrow
from psycopg import sql

from demo.legacy.copying import copy_promotions, copy_table
from demo.legacy.frames import all_frames
from demo.legacy.manifest import Manifest
from demo.legacy.planting import plant
from demo.legacy.statements import HERE, statement
from demo.legacy.wheel import read_real

SEED = 20260101


def build(
    source_conn: psycopg.Connection,
    target_conn: psycopg.Connection,
    *,
    scale: float = 1.0,
    promotions: bool = False,
    seed: int = SEED,
    force: bool = False,
    reader: str | None = None,
) -> Manifest:
    """Make the legacy tables (schema public) and the new ones (commerce); what is there stays.

    ``scale`` is the share of the households (0 to 1], ``promotions`` adds 20.9 M rows, ``force``
    makes both again, ``reader`` is a role that gets SELECT on the legacy tables. A database made by
    another version of this code or with other arguments is dropped and made again. The rows appear
    in one transaction, committed unless the caller has one open.
    """
    fingerprint = _fingerprint(scale, promotions, seed)
    manifest = None if force else stored_manifest(source_conn, fingerprint)
    if manifest is None:
        manifest = _build_source(source_conn, fingerprint, scale, promotions, seed)
    if reader is not None:
        _grant(source_conn, reader)
    if force or _target_mark(target_conn) != _target_fingerprint():
        _build_target(target_conn)
    return manifest


def is_built(
    source_conn: psycopg.Connection,
    target_conn: psycopg.Connection,
    *,
    scale: float = 1.0,
    promotions: bool = False,
    seed: int = SEED,
) -> bool:
    """Whether ``build`` with these arguments would find both databases in place."""
    there = stored_manifest(source_conn, _fingerprint(scale, promotions, seed)) is not None
    return there and _target_mark(target_conn) == _target_fingerprint()


def stored_manifest(
    source_conn: psycopg.Connection, fingerprint: str | None = None
) -> Manifest | None:
    """The manifest in the legacy database, if it is of ``fingerprint`` or none is asked for."""
    with source_conn.transaction():
        if _one(source_conn, "SELECT to_regclass('demo_manifest.build')") is None:
            return None
        query = "SELECT body::text FROM demo_manifest.build WHERE %s IN (fingerprint, '')"
        body = _one(source_conn, query, fingerprint or "")
    return None if body is None else Manifest.from_json(str(body))


def _build_source(
    conn: psycopg.Connection, fingerprint: str, scale: float, promotions: bool, seed: int
) -> Manifest:
    with conn.transaction():
        _settle(conn)
        conn.execute(statement("tables"))
        conn.execute(statement("plant/tables"))
        for table, rows in all_frames(read_real(scale, seed), seed):
            copy_table(conn, table, arrow.Table.from_pandas(rows, preserve_index=False))
        if promotions:
            copy_promotions(conn)
        conn.execute(statement("keys"))
        conn.execute("ANALYZE")
        return plant(conn, fingerprint, scale, seed)


def _settle(conn: psycopg.Connection) -> None:
    """The rows are written as text: the transaction reads dates, times and arrays in one way."""
    for setting, value in (
        ("DateStyle", "ISO, YMD"),
        ("TimeZone", "UTC"),
        ("search_path", "public"),
    ):
        conn.execute("SELECT set_config(%s, %s, true)", [setting, value])
    conn.execute("SELECT set_config('maintenance_work_mem', '256MB', true)")


def _build_target(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute(statement("target"))
        mark = sql.SQL("COMMENT ON SCHEMA commerce IS {}").format(
            sql.Literal(_target_fingerprint())
        )
        conn.execute(mark)


def _grant(conn: psycopg.Connection, role: str) -> None:
    grants = (
        "GRANT USAGE ON SCHEMA public TO {}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}",
    )
    with conn.transaction():
        for grant in grants:
            conn.execute(sql.SQL(grant).format(sql.Identifier(role)))


def _target_mark(conn: psycopg.Connection) -> object:
    with conn.transaction():
        return _one(conn, "SELECT obj_description(to_regnamespace('commerce'), 'pg_namespace')")


def _one(conn: psycopg.Connection, query: str, *arguments: object) -> object:
    row = conn.execute(query.encode(), arguments).fetchone()
    return row[0] if row else None


def _fingerprint(scale: float, promotions: bool, seed: int) -> str:
    digest = hashlib.sha256(f"{scale} {promotions} {seed}".encode())
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _target_fingerprint() -> str:
    return hashlib.sha256(statement("target").encode()).hexdigest()


def _sources() -> Iterator[Path]:
    """What decides the rows: code and statements; the new tables have their own fingerprint."""
    for path in sorted(HERE.rglob("*")):
        if path.suffix in (".py", ".sql") and path.name != "target.sql":
            yield path
