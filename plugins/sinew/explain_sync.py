"""A sync's plan in plain words, as Markdown; reads nothing but the mapping."""

from __future__ import annotations

from collections.abc import Iterator

from sinew.explain import EXISTING, code, column_rows, key_of, levels, limit, listed
from sinew.spec.delivery import CHANGES
from sinew.spec.pagination import OnePage
from sinew.spec.resources import Bookmark, Resource, Since, Window
from sinew.spec.sync import Mark, Sync, SyncEntity


def explain_sync(sync: Sync) -> str:
    """The whole plan: ends, schedule, what is read, every column; always the same text."""
    return "\n".join(_lines(sync)) + "\n"


def _lines(sync: Sync) -> Iterator[str]:
    yield f"# Sync {sync.name}"
    if sync.description:
        yield from ("", sync.description)
    yield ""
    yield from _summary(sync)
    yield from ("", "## Schedule", "")
    yield from _schedule(sync)
    if sync.resources:
        yield from ("", "## Resources", "")
        for name in sync.resources:
            yield _resource(sync, name)
    yield from ("", "## Order", "")
    for number, names in enumerate(levels(sync), start=1):
        yield f"{number}. {listed(names)}"
    for name in sync.entity_order:
        yield from ("", f"## {name}", "")
        yield from _entity(sync, sync.entities[name])


def _summary(sync: Sync) -> Iterator[str]:
    source, target = sync.source, sync.target
    yield f"- From {_end(source.api, source.conn, source.schema_name)}"
    yield f"- To {_end(target.api, target.conn, target.schema_name)}"
    if sync.delivers:
        yield f"- The ledger is kept in connection `{sync.home_conn}`"
    else:
        yield f"- Rows that the target already holds: {EXISTING[target.existing]}"
    yield f"- {sync.parallelism} steps at once; rejected rows that a run may have: {limit(sync.max_rejects)}"
    if sync.reads_api:
        yield f"- Answers are kept for {sync.keep_raw_days} days, to be transformed again without asking"
    if sync.contracts:
        yield f"- Contracts: `{sync.contracts}`, besides those that every batch must pass"
    yield f"- Plan: `{sync.fingerprint()[:12]}`"


def _end(api: str | None, conn: str, schema: str) -> str:
    return f"the API of connection `{api}`" if api else f"connection `{conn}`, schema `{schema}`"


def _schedule(sync: Sync) -> Iterator[str]:
    schedule = sync.schedule
    if schedule.cron:
        yield f"- {code(schedule.cron)} in {schedule.timezone}; a run covers the time since the moment before"
        yield f"- From {schedule.start} on; {_CATCHUP[schedule.catchup]}"
    elif schedule.after:
        yield f"- When these were loaded: {listed(code(name) for name in schedule.after)}"
    else:
        yield "- When a person triggers it"
    yield f"- {schedule.max_active_runs} {'run' if schedule.max_active_runs == 1 else 'runs'} at a time"
    if sync.backfills:
        yield "- Any window can be run again (`airflow backfill create`)"
    else:
        yield "- No backfills: it reads what is new since its last run"


_CATCHUP = {
    True: "windows that were missed are run by themselves",
    False: "windows that were missed are run by a backfill alone",
}


def _resource(sync: Sync, name: str) -> str:
    resource = sync.resources[name]
    parts = [
        f"- **{name}**: {resource.method} {code(resource.path)}, records at {code(resource.records)}"
    ]
    if not isinstance(resource.pagination, OnePage):
        parts.append(f"pages by {resource.pagination.style}")
    if resource.each is not None:
        parts.append(f"once for each record of {resource.each.of}")
    elif told := _incremental(resource):
        parts.append(told)
    return ", ".join(parts)


def _incremental(resource: Resource) -> str:
    match resource.incremental:
        case Window() as window:
            return f"windows by {code(window.from_parameter)} and {code(window.to_parameter)}"
        case Since() as since:
            return f"what changed since the last run by {code(since.parameter)}"
        case Bookmark() as bookmark:
            return f"what is new by the token {code(bookmark.parameter)}"
    return "all of it each time"


def _entity(sync: Sync, entity: SyncEntity) -> Iterator[str]:
    yield f"{_source(sync, entity)} → {_target(sync, entity)}"
    yield ""
    yield f"- Key: {key_of(entity)}"
    yield f"- A run reads {_SCOPES[sync.scope_of(entity.name)]}"
    if entity.watermark is not None:
        again = (
            f", {entity.watermark.overlap:g} s before it once more"
            if entity.watermark.overlap
            else ""
        )
        yield f"- Changed when {code(entity.watermark.column)} says{again}"
    yield f"- Rows that are gone from the source: {_vanished(entity)}"
    if entity.where:
        yield f"- Only rows where {code(entity.where)}"
    if parents := sync.parents(entity.name):
        yield f"- After {listed(parents)}"
    if entity.max_rejects is not None:
        yield f"- Rejected rows that a run may have: {limit(entity.max_rejects)}"
    if entity.deliver is not None:
        yield from _delivery(entity)
    yield ""
    yield from column_rows(entity)


_SCOPES = {
    "window": "the rows of its window",
    "since": "what is new since the last run",
    "full": "everything",
}


def _source(sync: Sync, entity: SyncEntity) -> str:
    source = entity.source
    if source.resource:
        inside = f", elements of {code(source.records)}" if source.records else ""
        return f"resource {source.resource}{inside}"
    if source.table:
        return f"`{sync.schema_of(entity.name)}.{source.table}`"
    return f"SQL file `{source.sql}`"


def _target(sync: Sync, entity: SyncEntity) -> str:
    return "the API" if sync.delivers else f"`{sync.target.schema_name}.{entity.into}`"


def _vanished(entity: SyncEntity) -> str:
    if isinstance(entity.vanished, Mark):
        told = f"marked in {code(entity.vanished.mark)}"
    else:
        told = {"keep": "kept", "delete": "deleted"}[entity.vanished]
    most = entity.max_vanished
    return told if most is None else f"{told}, at most {limit(most)} at once"


def _delivery(entity: SyncEntity) -> Iterator[str]:
    deliver = entity.deliver
    assert deliver is not None
    for kind in CHANGES:
        change = deliver.change(kind)
        if change is not None:
            bulk = deliver.bulk if deliver.in_bulk(kind) else None
            many = f", up to {bulk.size} rows at once" if bulk else ""
            yield f"- {kind}: {change.method} {code(change.path)}{many}"
    if deliver.idempotency_header:
        yield f"- Each row and version has its own {code(deliver.idempotency_header)}"
    if deliver.read_back is not None:
        yield f"- Then looked up at {code(deliver.read_back.path)} and compared"
