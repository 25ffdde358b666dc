"""What must hold between the parts of a sync's mapping; no file and no database is read."""

from __future__ import annotations

from collections.abc import Iterator

from sinew.spec.columns import KeyColumn
from sinew.spec.cron import cron_flaw
from sinew.spec.delivery import CHANGES, OWN_FIELDS, Delivery
from sinew.spec.exchange import fields_in
from sinew.spec.findings import Finding, unknown
from sinew.spec.resources import Bookmark, Resource, Since, Window
from sinew.spec.sync import Mark, Sync, SyncEntity


def check_sync(sync: Sync) -> list[Finding]:
    """Everything that is wrong between the parts, the ends first."""
    return [
        *_ends(sync),
        *_schedule(sync),
        *(finding for name in sync.resources for finding in _resource(sync, name)),
        *(finding for entity in sync.entities.values() for finding in _entity(sync, entity)),
    ]


def _ends(sync: Sync) -> Iterator[Finding]:
    if sync.reads_api and sync.delivers:
        yield Finding(
            ("target", "api"),
            "both ends are APIs, but rows are checked in a database on their way; allowed: one API: "
            "load them into a database by one sync, and deliver them from there by another",
        )
    if sync.home is not None and not sync.delivers:
        yield Finding(
            ("home",),
            "the target is a database, and the ledger lives there; `home` is for an API as the "
            "target: remove it",
        )
    if sync.resources and not sync.reads_api:
        yield Finding(
            ("resources",),
            "resources are read from an API, but the source is a database: remove them",
        )


def _schedule(sync: Sync) -> Iterator[Finding]:
    schedule = sync.schedule
    if schedule.cron and schedule.start:
        flaw = cron_flaw(schedule.cron, schedule.timezone, schedule.start)
        if flaw is not None:
            yield Finding(("schedule", "cron"), flaw)
    if sync.schedule.max_active_runs > 1 and not sync.backfills:
        names = ", ".join(n for n in sync.entities if sync.scope_of(n) == "since")
        yield Finding(
            ("schedule", "max_active_runs"),
            f"{names} is read since the last run, so runs must follow one another; allowed: 1: set it",
        )
    if sync.schedule.catchup and not sync.backfills:
        yield Finding(
            ("schedule", "catchup"),
            "what is read since the last run cannot be read for a time that has passed: remove `catchup`",
        )


def _resource(sync: Sync, name: str) -> Iterator[Finding]:
    resource, path = sync.resources[name], ("resources", name)
    each = resource.each
    if each is None:
        yield from _unfilled(resource, path, ())
        return
    if not isinstance(each.of, str):
        yield Finding(
            (*path, "each", "of"),
            "the parent must be a resource of this mapping; allowed: a name: declare the parent under "
            "`resources` and name it here",
        )
        return
    if each.of not in sync.resources:
        message = unknown("the resource", each.of, sync.resources, "name one of these")
        yield Finding((*path, "each", "of"), message)
    elif (
        sync.resource_chain(name)[0] == name
        or sync.resources[sync.resource_chain(name)[0]].each is not None
    ):
        yield Finding((*path, "each", "of"), f"{name!r} is its own parent: break the circle")
    if resource.incremental is not None:
        yield Finding(
            (*path, "incremental"),
            "what is read for each record of a parent is bounded by the parent: move `incremental` there",
        )
    yield from _unfilled(resource, path, tuple(each.take))


def _unfilled(
    resource: Resource, path: tuple[str | int, ...], given: tuple[str, ...]
) -> Iterator[Finding]:
    allowed = (*given, "window_from", "window_to")
    for name in resource.fields:
        if name not in allowed:
            message = unknown(
                "the name in braces", name, allowed, "take it from a parent by `each`"
            )
            yield Finding((*path, "path"), message)


def _entity(sync: Sync, entity: SyncEntity) -> Iterator[Finding]:
    path = ("entities", entity.name)
    yield from _source(sync, entity)
    if entity.keyless:
        yield Finding(
            path,
            f"{entity.name!r} has no `key`, by which a record is found again in the next run: add one",
            at_key=True,
        )
    if sync.delivers:
        yield from _delivered(entity)
        yield from _circular(sync, entity)
        return
    if entity.deliver is not None:
        yield Finding((*path, "deliver"), "the target is a database: remove `deliver`")
    if isinstance(entity.vanished, Mark) and entity.vanished.mark in entity.columns:
        yield Finding(
            (*path, "vanished", "mark"),
            f"the column {entity.vanished.mark!r} is filled by the mapping, so it cannot mark what is "
            "gone: name a column that is not mapped",
        )
    shared = [e.name for e in sync.entities.values() if e.into == entity.into and e is not entity]
    if shared and entity.vanished != "keep":
        yield Finding(
            (*path, "vanished"),
            f"{', '.join(shared)} fills the same table; allowed then: keep",
        )


def _source(sync: Sync, entity: SyncEntity) -> Iterator[Finding]:
    path = ("entities", entity.name)
    resource = entity.source.resource
    if sync.reads_api and resource is None:
        yield Finding(
            (*path, "from"),
            "the source is an API, so an entity reads one of `resources`; write {resource: R}",
        )
    elif not sync.reads_api and resource is not None:
        yield Finding((*path, "from"), "the source is a database: name a table or a SQL file")
    elif resource is not None and resource not in sync.resources:
        message = unknown("the resource", resource, sync.resources, "name one of these")
        yield Finding((*path, "from", "resource"), message)
    if entity.fields_ and resource is None:
        yield Finding((*path, "fields"), "a table's columns are its fields: remove `fields`")
    if entity.where and resource is not None:
        yield Finding(
            (*path, "where"),
            "an API's records are chosen by the resource's `params`; rows that do not belong can be "
            "rejected by a `check`: remove `where`",
        )
    yield from _watermark(sync, entity)


def _watermark(sync: Sync, entity: SyncEntity) -> Iterator[Finding]:
    path, resource = ("entities", entity.name), entity.source.resource
    mark = entity.watermark
    if resource in sync.resources:
        incremental = sync.root_resource(resource).incremental
        if mark is not None and "by" in mark.model_fields_set:
            yield Finding(
                (*path, "watermark", "by"),
                "an API's resource says by `incremental` what a run reads: remove `by`",
            )
        if mark is not None and mark.overlap and isinstance(incremental, Bookmark):
            yield Finding((*path, "watermark", "overlap"), "a bookmark knows no overlap: remove it")
        if isinstance(incremental, Window) and entity.vanished != "keep" and mark is None:
            yield Finding(
                (*path, "vanished"),
                "which rows belong to a window is told by their moment: add `watermark: {column: …}`, the "
                f"moment by which {resource!r} selects",
            )
        if isinstance(incremental, Since | Bookmark) and entity.vanished != "keep":
            yield Finding(
                (*path, "vanished"),
                f"{resource!r} tells only what is new, so nothing can be found missing; allowed: keep",
            )
    elif mark is not None and mark.by == "since" and entity.vanished != "keep":
        yield Finding(
            (*path, "vanished"),
            "what is read since the last run cannot show what is gone; allowed: keep",
        )


def _circular(sync: Sync, entity: SyncEntity) -> Iterator[Finding]:
    for name in entity.columns:
        if (entity.name, name) in sync.deferred_refs:
            yield Finding(
                ("entities", entity.name, "columns", name),
                "a reference in a circle is filled in by a second pass over a table, which an API has not: send it "
                "by a sync of its own",
            )


def _sent_fields(entity: SyncEntity, delivery: Delivery) -> Iterator[Finding]:
    """Names in braces, and columns that are compared: the row must have them; a row that is gone has its key alone."""
    path = ("entities", entity.name, "deliver")
    for kind in CHANGES:
        change = delivery.change(kind)
        known = entity.target_key if kind == "delete" else tuple(entity.columns)
        for part in ("path", "params", "body") if change is not None else ():
            for name in fields_in(getattr(change, part)):
                if name not in known and (part == "path" or name not in OWN_FIELDS):
                    todo = "a row that is gone has its target key alone" if kind == "delete" else ""
                    message = unknown("the column", name, known, todo or "name a column")
                    yield Finding((*path, kind, part), message)
    for where, names in _other_columns(delivery):
        for name in names:
            if name not in entity.columns:
                message = unknown("the column", name, entity.columns, "name a column")
                yield Finding((*path, *where), message)
    yield from _found_again(entity, delivery)


def _other_columns(delivery: Delivery) -> Iterator[tuple[tuple[str, str], list[str]]]:
    if delivery.bulk is not None and delivery.bulk.id_column is not None:
        yield ("bulk", "id_column"), [delivery.bulk.id_column]
    if delivery.read_back is not None:
        for part in ("path", "params"):
            yield ("read_back", part), list(fields_in(getattr(delivery.read_back, part)))
        yield ("read_back", "compare"), list(delivery.read_back.compare)


def _found_again(entity: SyncEntity, delivery: Delivery) -> Iterator[Finding]:
    """Whether a deleted row could be looked up."""
    if delivery.read_back is None or entity.vanished != "delete":
        return
    for part in ("path", "params"):
        for name in fields_in(getattr(delivery.read_back, part)):
            if name in entity.columns and name not in entity.target_key:
                message = unknown(
                    "the column",
                    name,
                    entity.target_key,
                    "a deleted row is looked up too, and has its target key alone",
                )
                yield Finding(("entities", entity.name, "deliver", "read_back", part), message)


def _delivered(entity: SyncEntity) -> Iterator[Finding]:
    path = ("entities", entity.name)
    if entity.deliver is None:
        yield Finding(
            path,
            f"the target is an API, but nothing says how {entity.name!r} is sent: add `deliver`",
            at_key=True,
        )
        return
    yield from _sent_fields(entity, entity.deliver)
    if entity.vanished == "delete" and entity.deliver.delete is None:
        yield Finding(
            (*path, "vanished"),
            "vanished rows are to be deleted, but `deliver` has no `delete`: add it, or keep them",
        )
    if isinstance(entity.vanished, Mark):
        yield Finding(
            (*path, "vanished"), "an API has no column to mark; allowed: keep, delete: choose one"
        )
    for column in entity.columns.values():
        if isinstance(column, KeyColumn) and column.strategy == "identity":
            yield Finding(
                (*path, "columns", column.name),
                "an API gives its own ids (`remote_id`), and no sequence; allowed: copy, uuid",
            )
