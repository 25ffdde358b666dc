"""Both databases of the demo: made when they are missing, recognised when they are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from demo.legacy import Manifest, build, is_built, stored_manifest
from demo.show.errors import DemoError
from demo.show.ledger import drop_ledger, has_ledger
from demo.show.words import count

Say = Callable[[str], None]

_ANEW = "To begin anew, with all that was migrated thrown away: make demo DEMO=--fresh"


@dataclass(frozen=True)
class Wanted:
    """Which legacy database the demo is to migrate."""

    scale: float = 1.0
    promotions: bool = False
    fresh: bool = False


def prepare(
    source: psycopg.Connection, home: psycopg.Connection, wanted: Wanted, reader: str, say: Say
) -> Manifest:
    """Make what is missing and return what the legacy database holds.

    ``reader`` is the role that the migration reads with. Raises DemoError where a ledger speaks of
    rows that are no longer the ones at hand; with ``fresh`` it is dropped, and both are made again.
    """
    began = time.monotonic()
    there = is_built(source, home, scale=wanted.scale, promotions=wanted.promotions)
    if not wanted.fresh:
        _refuse_another(source, home, there)
    if wanted.fresh:
        say("Everything is made anew, as --fresh says ...")
    elif not there:
        say("The legacy database is built from a year of real retail data ...")
    manifest = _make(source, home, wanted, reader)
    took = f", made in {time.monotonic() - began:.0f} s" if wanted.fresh or not there else ""
    say(f"Legacy database: {count(_rows(manifest), 'row')} to move{took}")
    return manifest


def _make(
    source: psycopg.Connection, home: psycopg.Connection, wanted: Wanted, reader: str
) -> Manifest:
    # One transaction of the new database: never empty tables beside a ledger that calls them full.
    with home.transaction():
        if wanted.fresh:
            drop_ledger(home)
        manifest = _build(source, home, wanted, reader)
        _mark(home, manifest)
    return manifest


def _build(
    source: psycopg.Connection, home: psycopg.Connection, wanted: Wanted, reader: str
) -> Manifest:
    try:
        return build(
            source,
            home,
            scale=wanted.scale,
            promotions=wanted.promotions,
            force=wanted.fresh,
            reader=reader,
        )
    except RuntimeError as error:
        raise DemoError(f"The legacy database cannot be made: {error}") from None


def _rows(manifest: Manifest) -> int:
    return sum(figures.source_rows for figures in manifest.figures)


def _refuse_another(source: psycopg.Connection, home: psycopg.Connection, there: bool) -> None:
    if not has_ledger(home):
        return
    manifest, marked = stored_manifest(source), _marked(home)
    if not there:
        scale = f"--scale {manifest.scale:g}" if manifest else "none"
        raise DemoError(
            "The ledger tells of a migration of other databases than these options, or this "
            f"version of the demo, would make. The legacy database at hand: {scale}. Run the demo "
            f"with the options that it was last run with. {_ANEW}"
        )
    if marked is not None and manifest is not None and marked != _text(manifest):
        raise DemoError(f"The ledger tells of a migration of another legacy database. {_ANEW}")


def _text(manifest: Manifest) -> str:
    return f"Migrated from legacy build {manifest.fingerprint}"


def _mark(home: psycopg.Connection, manifest: Manifest) -> None:
    """Write down which legacy database the ledger of this one is about."""
    query = sql.SQL("COMMENT ON DATABASE {} IS {}")
    home.execute(query.format(sql.Identifier(home.info.dbname), sql.Literal(_text(manifest))))


def _marked(home: psycopg.Connection) -> str | None:
    query = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = current_database()"
    )
    row = home.execute(query).fetchone()
    return row[0] if row else None
