"""Fetch: an API's records into the home database, as they came; a reading that was cut off goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import args_row

from sinew.compile import record_sql
from sinew.engine.batch import FETCH_LOCK
from sinew.engine.session import connect, drop_tables, translated
from sinew.errors import (
    ApiRefusedError,
    CollectionChangedError,
    ConfigurationError,
    InterruptedStepError,
    PaginationError,
)
from sinew.paths import statement
from sinew.spec.resources import Bookmark, Resource, Since, Window
from sinew.spec.sync import Sync

if TYPE_CHECKING:
    import requests

    from sinew.api.pages import Page
    from sinew.engine.steps import Context

log = logging.getLogger(__name__)

# What an API answers to a bookmark that it has forgotten.
_FORGOTTEN = (400, 410)


@dataclass(frozen=True)
class Fetch:
    """One reading of one resource, as the ledger has it."""

    id: int
    state: str
    cursor: dict[str, Any] | None
    records: int | None
    lower: datetime | None
    upper: datetime


def fetched(context: Context, home: psycopg.Connection, window_id: int, name: str) -> int:
    """The number of the reading whose records are complete; reads what is missing, parents first.

    One process reads a resource of a window; the others wait for it and take what it has read.
    """
    sync = _sync(context)
    resource = sync.resources[name]
    if resource.each is not None:
        fetched(context, home, window_id, _parent(resource))
    id_ = _begin(home, sync, window_id, name)
    with _held(home, id_):
        fetch = _get(home, id_)
        if not _is_whole(home, fetch):
            _read(context, home, fetch, window_id, name)
    return id_


def ask_again(home: psycopg.Connection, window_id: int | None) -> None:
    """Forget what was read for a window, so that its records are asked for anew."""
    home.execute(
        "UPDATE sinew.fetch SET state = 'begun', cursor = NULL WHERE window_id = %s", (window_id,)
    )


def ask_anew(home: psycopg.Connection, batch_id: int) -> None:
    """The same for one batch: a reading that another batch of the window has begun anew already will do."""
    home.execute(statement("sync/ask_anew"), {"id": batch_id})


def _sync(context: Context) -> Sync:
    assert isinstance(context.migration, Sync)
    return context.migration


def _parent(resource: Resource) -> str:
    assert resource.each is not None and isinstance(resource.each.of, str)
    return resource.each.of


def _begin(home: psycopg.Connection, sync: Sync, window_id: int, name: str) -> int:
    row = home.execute(
        statement("sync/begin_fetch"),
        {
            "mapping": sync.name,
            "window": window_id,
            "resource": name,
            "fingerprint": sync.resource_fingerprint(name),
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _held(home: psycopg.Connection, id_: int) -> Iterator[None]:
    try:
        home.execute("SELECT pg_advisory_lock(%s, %s)", (FETCH_LOCK, id_))
    except psycopg.errors.LockNotAvailable:
        raise InterruptedStepError(
            f"reading {id_} is held by another task for longer than the lock time-out"
        ) from None
    try:
        yield
    finally:
        if not home.closed and not home.broken:
            home.execute("SELECT pg_advisory_unlock(%s, %s)", (FETCH_LOCK, id_))


def _get(home: psycopg.Connection, id_: int) -> Fetch:
    cursor = home.cursor(row_factory=args_row(Fetch))
    found = cursor.execute(statement("sync/get_fetch"), {"id": id_}).fetchone()
    if found is None:
        raise ConfigurationError(f"reading {id_} is not in the ledger: start a new run")
    return found


def _there(home: psycopg.Connection, id_: int) -> bool:
    name = record_sql.raw_table(id_).as_string(None)
    return home.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone() == (True,)


def _is_whole(home: psycopg.Connection, fetch: Fetch) -> bool:
    if fetch.state != "complete" or not _there(home, fetch.id):
        return False
    return home.execute(record_sql.raw_evidence(fetch.id)).fetchone() == (fetch.records,)


# --- reading


def _read(
    context: Context, home: psycopg.Connection, fetch: Fetch, window_id: int, name: str
) -> None:
    resource = _sync(context).resources[name]
    start = fetch.cursor if fetch.state == "begun" and _there(home, fetch.id) else None
    assert context.open_api is not None
    with context.open_api() as session:
        pages = partial(_pages, context, home, session, fetch, window_id, name)
        if start is not None:
            try:
                _store(home, fetch, pages(start))
                return
            except (ApiRefusedError, PaginationError, CollectionChangedError) as error:
                # Its place in the list may have expired meanwhile, or moved: a later try would meet the same.
                log.warning("%s; %s is read from its beginning", error, name)
        try:
            _empty(home, fetch)
            _store(home, fetch, pages(None), resumable=resource.each is None)
        except ApiRefusedError as error:
            if error.status not in _FORGOTTEN or not isinstance(resource.incremental, Bookmark):
                raise
            log.warning(
                "%s; the last run's bookmark may be too old: all of %s is read", error, name
            )
            _empty(home, fetch)
            _store(home, fetch, pages(None, everything=True))


def _empty(home: psycopg.Connection, fetch: Fetch) -> None:
    with home.transaction():
        drop_tables(home, record_sql.raw_table(fetch.id))
        home.execute(record_sql.create_raw(fetch.id))
        home.execute(statement("sync/restart_fetch"), {"id": fetch.id})


def _pages(
    context: Context,
    home: psycopg.Connection,
    session: requests.Session,
    fetch: Fetch,
    window_id: int,
    name: str,
    start: Mapping[str, Any] | None,
    *,
    everything: bool = False,
) -> Iterator[Page]:
    from sinew.api.dependents import read_each
    from sinew.api.pages import read_pages

    sync = _sync(context)
    resource = sync.resources[name]
    if resource.each is None:
        parameters = {} if everything else _asked(home, sync, fetch, name)
        return read_pages(session, resource, parameters, start=start)
    parents = _parents(context, home, window_id, resource)
    return read_each(session, resource, parents, {})


def _asked(
    home: psycopg.Connection, sync: Sync, fetch: Fetch, name: str
) -> dict[str, datetime | str]:
    """What bounds the reading: the window, or where the last one ended."""
    incremental = sync.resources[name].incremental
    overlap = timedelta(seconds=sync.overlap_of(name))
    if isinstance(incremental, Window):
        if fetch.lower is None:
            raise ConfigurationError(
                f"{name} of {sync.name} is read by windows, but the run has no beginning: give one"
            )
        return {"window_from": fetch.lower - overlap, "window_to": fetch.upper}
    if incremental is None:
        return {}
    row = home.execute(
        "SELECT moment, bookmark FROM sinew.position WHERE mapping = %s AND name = %s",
        (sync.name, name),
    ).fetchone()
    moment, bookmark = row or (None, None)
    if isinstance(incremental, Since) and moment is not None:
        return {"since": moment - overlap}
    if isinstance(incremental, Bookmark) and bookmark is not None:
        return {"bookmark": bookmark}
    return {}


def _parents(
    context: Context, home: psycopg.Connection, window_id: int, resource: Resource
) -> Iterator[Mapping[str, Any]]:
    """What `each` takes from the parent's records, one by one, over a connection of its own."""
    from sinew.api.dependents import taken

    assert resource.each is not None
    row = home.execute(
        "SELECT id FROM sinew.fetch WHERE window_id = %s AND resource = %s",
        (window_id, _parent(resource)),
    ).fetchone()
    assert row is not None
    with connect(context.home, read_only=True, step="extract") as reader, reader.transaction():
        with reader.cursor(name="parents") as records:
            records.execute(record_sql.select_records(row[0]))
            for (text,) in records:
                yield taken(resource.each, text)


def _store(
    home: psycopg.Connection, fetch: Fetch, pages: Iterator[Page], *, resumable: bool = True
) -> None:
    """Keep each page in a transaction of its own, together with the place where a later try goes on."""
    newest: dict[int, int] = {}
    for page in pages:
        with translated(f"keep page {page.number}"), home.transaction():
            if page.number <= newest.get(page.parent_number, 0):
                home.execute(
                    record_sql.delete_pages(fetch.id),
                    {"parent": page.parent_number, "page": page.number},
                )
            newest[page.parent_number] = page.number
            _copy(home, fetch, page)
            home.execute(
                statement("sync/note_page"),
                {
                    "id": fetch.id,
                    "cursor": json.dumps(page.cursor) if resumable and page.cursor else None,
                    "bookmark": page.bookmark,
                    "asked_at": page.fetched_at,
                },
            )
    count = home.execute(record_sql.raw_evidence(fetch.id)).fetchone()
    assert count is not None
    home.execute(statement("sync/end_fetch"), {"id": fetch.id, "records": count[0]})


def _copy(home: psycopg.Connection, fetch: Fetch, page: Page) -> None:
    taken = json.dumps(page.parent, default=str) if page.parent is not None else None
    with home.cursor().copy(record_sql.copy_to_raw(fetch.id)) as copy:
        for record in page.records:
            flaws = "; ".join(record.flaws) or None
            copy.write_row((page.parent_number, page.number, record.text, taken, flaws))
