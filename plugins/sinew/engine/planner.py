"""Plan: audit, activate the mapping, and cut each phase into batches. Idempotent: what is done stays done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from sinew.compile import plan_sql
from sinew.compile.bounds import Range
from sinew.compile.entity_plan import EntityPlan, columns_read, entity_fingerprint
from sinew.compile.table_sql import create_row_ledger, delivery_columns
from sinew.engine import catalog, ledger
from sinew.engine.audit import Audit, audit
from sinew.engine.comparing import compare_entity
from sinew.engine.extract import pump, source_snapshot
from sinew.engine.preflight import preflight
from sinew.engine.prove import takes_part
from sinew.engine.reopening import reopen
from sinew.engine.session import connect, translated
from sinew.engine.shadows import make_shadow
from sinew.engine.steps import Context
from sinew.errors import PreflightError, Problem
from sinew.paths import statement
from sinew.spec.columns import RefColumn
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import Sync

# Airflow maps a task group over at most 1,024 items; ranges are widened before that.
MOST_BATCHES = 1000


@dataclass(frozen=True)
class PlanResult:
    """What planning found: the fingerprint, and for each entity the rows that the source holds now."""

    fingerprint: str
    notes: tuple[str, ...]


def prepare(context: Context, *, dry_run: bool = False) -> PlanResult:
    """Audit both databases and make this mapping the active one; writes nothing when ``dry_run``.

    Raises PreflightError with all findings before a row moves.
    """
    migration = context.migration
    doing = f"plan {migration.name}"
    with (
        connect(context.source, read_only=True, step="plan") as source,
        connect(context.home, step="plan") as home,
        translated(doing),
    ):
        notes = preflight(source, home, migration)
        found = audit(source, home, migration)
        _require_unique_keys(source, found)
        if not dry_run:
            ledger.upgrade(home)
            _activate(source, home, found)
    return PlanResult(migration.fingerprint(), tuple(notes))


def _require_unique_keys(source: psycopg.Connection, found: Audit) -> None:
    """A key that tells no rows apart would lose some: the index proves it, or a scan does."""
    problems = []
    for plan in found.plans.values():
        if plan.keyless or plan.from_api or _indexed_unique(source, plan):
            continue
        row = source.execute(plan_sql.repeated_keys(plan)).fetchone()
        if row and row[0]:
            problems.append(
                Problem(
                    plan.migration.location("entities", plan.entity.name, "key"),
                    f"key ({', '.join(plan.entity.source_key)}) of {plan.entity.name} is not unique: "
                    f"{row[0]} keys have more than one row; add columns to the key, or leave `key` out "
                    "to move whole rows as a multiset",
                )
            )
    if problems:
        raise PreflightError(problems)


def _indexed_unique(source: psycopg.Connection, plan: EntityPlan) -> bool:
    table = plan.entity.source.table
    relation = (
        catalog.relation(source, plan.migration.schema_of(plan.entity.name), table)
        if table
        else None
    )
    if relation is None or catalog.has_heirs(source, relation.oid):
        return False
    key = set(plan.entity.source_key)
    return any(set(index.columns) <= key for index in catalog.unique_indexes(source, relation.oid))


def _activate(source: psycopg.Connection, home: psycopg.Connection, found: Audit) -> None:
    migration = found.migration
    with home.transaction():
        ledger.lock_mapping(home, migration.name)
        fingerprint = ledger.activate(home, migration)
        for name in migration.entity_order:
            plan = found.plans[name]
            own = entity_fingerprint(migration, plan.entity, plan.facts)
            _make_row_ledger(home, plan)
            _require_empty(home, plan)
            ledger.save_facts(home, plan, own)
            _adopt_batches(home, plan, fingerprint, own)
            if migration.strategy == "big_bang" and not ledger.swapped(home, migration):
                make_shadow(home, migration, plan.entity.into)
            # A sync does not read the whole source each time; what is not unique is refused at the load.
            if not isinstance(migration, Sync):
                _find_duplicates(source, home, plan)
        _plan_phases(home, migration)


def _make_row_ledger(home: psycopg.Connection, plan: EntityPlan) -> None:
    have = catalog.relation(home, "sinew_rows", plan.ledger_name)
    if have is None:
        home.execute(create_row_ledger(plan))
        return
    known = {fact.name: fact.type.sql for fact in catalog.columns(home, have.oid)}
    wanted = {f"k{i}": type_.sql for i, type_ in enumerate(plan.key_types, start=1)}
    wanted |= {f"t{i}": type_.sql for i, type_ in enumerate(plan.target_key_types, start=1)}
    wanted |= {"moment": "timestamp with time zone"} if plan.windowed else {}
    wanted |= {name: type_.sql for name, type_ in delivery_columns(plan)}
    extra = {name for name in known if name[0] in "kt" and name[1:2].isdigit()} - set(wanted)
    differs = extra or any(known.get(name) != type_ for name, type_ in wanted.items())
    if differs and _has_rows(home, plan):
        location = plan.migration.location("entities", plan.entity.name)
        raise PreflightError(
            [
                Problem(
                    location,
                    f"the row ledger sinew_rows.{plan.ledger_name} was keyed otherwise and holds rows: keep the key as "
                    "it was, or take the entity out of the target and drop that table, then plan again",
                )
            ]
        )
    if differs:
        home.execute(psycopg.sql.SQL("DROP TABLE {}").format(plan.ledger))
        home.execute(create_row_ledger(plan))
        return
    _make_deferred_columns(home, plan, known)


def _make_deferred_columns(
    home: psycopg.Connection, plan: EntityPlan, known: dict[str, str]
) -> None:
    """Keys of parents that rows still want; whatever changes them changes the entity, and its rows are read again."""
    wanted = {name: type_.sql for name, type_ in plan.deferred_names()}
    have = {name: type_ for name, type_ in known.items() if name[0] == "d" and name[1:2].isdigit()}
    for name in sorted(name for name, type_ in have.items() if wanted.get(name) != type_):
        home.execute(
            psycopg.sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(
                plan.ledger, psycopg.sql.Identifier(name)
            )
        )
    for name in sorted(name for name, type_ in wanted.items() if have.get(name) != type_):
        home.execute(
            psycopg.sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(
                plan.ledger, psycopg.sql.Identifier(name), psycopg.sql.SQL(wanted[name])
            )
        )


def _has_rows(home: psycopg.Connection, plan: EntityPlan) -> bool:
    query = psycopg.sql.SQL("SELECT EXISTS (SELECT FROM {})").format(plan.ledger)
    return home.execute(query).fetchone() == (True,)


def _require_empty(home: psycopg.Connection, plan: EntityPlan) -> None:
    """``existing: fail``: a target that holds rows which no entity of this migration brought stops the plan."""
    migration = plan.migration
    if isinstance(migration, Sync) and migration.delivers:
        return
    if migration.existing_of(plan.entity.name) != "fail" or migration.strategy == "big_bang":
        return
    sharing = [e for e in migration.entities.values() if e.into == plan.entity.into]
    for entity in sharing:
        table = catalog.relation(home, "sinew_rows", f"{migration.name}__{entity.name}")
        name = psycopg.sql.Identifier("sinew_rows", f"{migration.name}__{entity.name}")
        query = psycopg.sql.SQL("SELECT EXISTS (SELECT FROM {})").format(name)
        if table is not None and home.execute(query).fetchone() == (True,):
            return
    query = psycopg.sql.SQL("SELECT EXISTS (SELECT FROM {})").format(plan.target)
    if home.execute(query).fetchone() == (True,):
        location = migration.location("entities", plan.entity.name)
        raise PreflightError(
            [
                Problem(
                    location,
                    f"target table {plan.target_schema}.{plan.entity.into} already holds rows: empty it, or say "
                    "`existing: update` (overwrite rows with the same key) or `existing: keep` (leave them)",
                )
            ]
        )


def _adopt_batches(home: psycopg.Connection, plan: EntityPlan, fingerprint: str, own: str) -> None:
    """Batches of an unchanged entity go on under the new plan; those of a changed one are stale."""
    key = (plan.migration.name, plan.entity.name)
    home.execute(
        "UPDATE sinew.batch SET fingerprint = %s WHERE mapping = %s AND entity = %s AND entity_fingerprint = %s",
        (fingerprint, *key, own),
    )
    home.execute(
        "UPDATE sinew.batch SET state = 'stale', updated_at = now() "
        "WHERE mapping = %s AND entity = %s AND entity_fingerprint <> %s",
        (*key, own),
    )


def _plan_phases(home: psycopg.Connection, migration: Pipeline) -> None:
    """Phases as the mapping has them now; one that it no longer has is forgotten, and others take its rows."""
    phases = {"mapping": migration.name, "names": [phase.name for phase in migration.phases]}
    home.execute(
        "DELETE FROM sinew.phase WHERE mapping = %(mapping)s AND name <> ALL(%(names)s)", phases
    )
    for name in migration.entity_order:
        own = [phase.name for phase in migration.phases if migration.takes_part(name, phase.name)]
        home.execute(
            "UPDATE sinew.batch SET state = 'stale' WHERE mapping = %s AND entity = %s AND phase <> ALL(%s)",
            (migration.name, name, own),
        )
    home.cursor().executemany(
        "INSERT INTO sinew.phase (mapping, name, position, state) VALUES (%s, %s, %s, 'planned') "
        "ON CONFLICT (mapping, name) DO UPDATE SET position = excluded.position",
        [(migration.name, phase.name, position) for position, phase in enumerate(migration.phases)],
    )


def _find_duplicates(
    source: psycopg.Connection, home: psycopg.Connection, plan: EntityPlan
) -> None:
    """Note rows that lose a unique value of the target, over the whole source: or the order of batches would decide."""
    home.execute(
        "DELETE FROM sinew.duplicate WHERE mapping = %s AND entity = %s",
        (plan.migration.name, plan.entity.name),
    )
    for unique in plan.facts.target_unique:
        if not _scannable(plan, unique):
            continue
        names = _scanned_names(plan, unique)
        home.execute(plan_sql.create_unique_scan(plan, names))
        with (
            source.cursor().copy(plan_sql.copy_unique_out(plan, names)) as outgoing,
            home.cursor().copy("COPY sinew_scan FROM STDIN (FORMAT BINARY)") as incoming,
        ):
            pump(outgoing, incoming)
        home.execute(plan_sql.insert_duplicates(plan, unique))
        home.execute("DROP TABLE sinew_scan")


def _scannable(plan: EntityPlan, unique: tuple[str, ...]) -> bool:
    columns = [plan.entity.columns.get(name) for name in unique]
    plain = all(c is not None and c.kind in ("from", "expr", "value") for c in columns)
    return plain and not plan.keyless and set(unique) != set(plan.target_key)


def _scanned_names(plan: EntityPlan, unique: tuple[str, ...]) -> list[str]:
    names = set(plan.entity.source_key)
    for name in unique:
        names |= columns_read(plan.entity.columns[name])
    return [column.name for column in plan.landed if column.name in names]


# --- one phase


def plan_phase(context: Context, phase: str, batch_rows: int | None = None) -> dict[str, list[int]]:
    """Batches of one phase that are still to be done, by entity, parents first; makes the missing ones."""
    migration = context.migration
    with (
        connect(context.source, read_only=True, step="plan") as source,
        connect(context.home, step="plan") as home,
        translated(f"plan {migration.name} phase {phase}"),
    ):
        ledger.require_active(home, migration)
        with home.transaction(), source_snapshot(source):
            ledger.lock_mapping(home, migration.name)
            home.execute(
                "UPDATE sinew.phase SET state = 'running', started_at = coalesce(started_at, now()), "
                "completed_at = NULL WHERE mapping = %s AND name = %s",
                (migration.name, phase),
            )
            for name in migration.entity_order:
                found = ledger.planned(home, migration, name)
                if takes_part(migration, name, phase):
                    _make_batches(source, home, found, phase, batch_rows or migration.batch.rows)
                    _look_for_null_keys(source, home, found, phase)
                    _look_again(source, home, migration, name, phase)
            _reopen_children(home, migration, phase)
            return {
                name: _pending(home, migration.name, name, phase) for name in migration.entity_order
            }


def _look_again(
    source: psycopg.Connection,
    home: psycopg.Connection,
    migration: Pipeline,
    entity: str,
    phase: str,
) -> None:
    """What was validated before is compared with the source and the target as they are now.

    Just that: the rows of batches that are still to be done are missing, and that is no difference.
    """
    batches = home.execute(
        "SELECT kind, lower, upper, state = 'validated' FROM sinew.batch "
        "WHERE mapping = %s AND entity = %s AND phase = %s AND state <> 'stale' ORDER BY id",
        (migration.name, entity, phase),
    ).fetchall()
    done = [(kind, lower, upper) for kind, lower, upper, validated in batches if validated]
    if done:
        plan = ledger.planned(home, migration, entity).plan
        ranges = None if len(done) == len(batches) else [_range(*batch) for batch in done]
        reopen(home, plan, compare_entity(source, home, plan, phase, ranges), phase)


def _range(kind: str, lower: list[str] | None, upper: list[str] | None) -> Range:
    return Range(kind, tuple(lower) if lower else None, tuple(upper) if upper else None)


def _make_batches(
    source: psycopg.Connection,
    home: psycopg.Connection,
    found: ledger.Planned,
    phase: str,
    rows: int,
) -> None:
    plan = found.plan
    have = home.execute(
        "SELECT EXISTS (SELECT FROM sinew.batch WHERE mapping = %s AND entity = %s AND phase = %s "
        "AND state <> 'stale')",
        (plan.migration.name, plan.entity.name, phase),
    ).fetchone()
    if have == (True,):
        return
    for range_, expected in _ranges(source, plan, phase, rows):
        _make_batch(home, found, phase, range_, expected)


def _make_batch(
    home: psycopg.Connection, found: ledger.Planned, phase: str, range_: Range, expected: int
) -> None:
    plan = found.plan
    home.execute(
        "INSERT INTO sinew.batch (mapping, fingerprint, entity, entity_fingerprint, phase, kind, lower, upper, "
        "expected_rows) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            plan.migration.name,
            plan.migration.fingerprint(),
            plan.entity.name,
            found.fingerprint,
            phase,
            range_.kind,
            _json(range_.lower),
            _json(range_.upper),
            expected,
        ),
    )


def _look_for_null_keys(
    source: psycopg.Connection, home: psycopg.Connection, found: ledger.Planned, phase: str
) -> None:
    """Rows without a key are in no row ledger, so no comparison misses them: they are counted and hashed here."""
    plan = found.plan
    if plan.keyless or not plan.key_nullable:
        return
    now = source.execute(plan_sql.null_keys(plan, phase)).fetchone() or (0, 0)
    batch = home.execute(
        "SELECT id, state, source_rows, source_hash FROM sinew.batch WHERE mapping = %s AND entity = %s "
        "AND phase = %s AND kind = 'null_keys' AND state <> 'stale'",
        (plan.migration.name, plan.entity.name, phase),
    ).fetchone()
    if batch is None:
        if now[0]:
            _make_batch(home, found, phase, Range("null_keys"), now[0])
    elif batch[1] == "validated" and tuple(batch[2:]) != tuple(now):
        home.execute("UPDATE sinew.batch SET state = 'mismatched' WHERE id = %s", (batch[0],))


def _json(bound: tuple[str, ...] | None) -> str | None:
    return json.dumps(bound) if bound is not None else None


def _ranges(
    source: psycopg.Connection, plan: EntityPlan, phase: str, rows: int
) -> Iterator[tuple[Range, int]]:
    """Half-open ranges that cover every key there is or will be, and the rows that each holds now.

    Rows without a key are looked for apart. The first and the last have no outer bound, so that no key falls outside.
    """
    total, without_key = source.execute(plan_sql.count_rows(plan, phase)).fetchone() or (0, 0)
    if plan.keyless:
        yield Range("whole"), total
        return
    rows = max(rows, -(-total // MOST_BATCHES))
    bounds: list[tuple[str, ...] | None] = [None]
    if total > rows:
        bounds += source.execute(plan_sql.range_bounds(plan, phase, rows)).fetchall()
    left = total - without_key
    for lower, upper in zip(bounds, [*bounds[1:], None], strict=True):
        yield Range("range", lower, upper), min(rows, left)
        left -= min(rows, left)


def _reopen_children(home: psycopg.Connection, migration: Pipeline, phase: str) -> None:
    """Children rejected for want of a parent are done again when a batch of that parent is."""
    for name in migration.entity_order:
        # A deferred reference is filled by the second pass, without its batch.
        refs = [
            c
            for c in migration.entities[name].columns.values()
            if isinstance(c, RefColumn) and (name, c.name) not in migration.deferred_refs
        ]
        home.execute(
            statement("batch/reopen_children"),
            {
                "mapping": migration.name,
                "entity": name,
                "phase": phase,
                "first_phase": migration.phases[0].name,
                "parents": [ref.entity for ref in refs],
                "columns": [ref.name for ref in refs],
            },
        )


def _pending(home: psycopg.Connection, mapping: str, entity: str, phase: str) -> list[int]:
    rows = home.execute(
        "SELECT id FROM sinew.batch WHERE mapping = %s AND entity = %s AND phase = %s "
        "AND state NOT IN ('validated', 'stale') ORDER BY id",
        (mapping, entity, phase),
    ).fetchall()
    return [row[0] for row in rows]
