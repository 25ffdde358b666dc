"""Open batches again whose rows differ, so that the next run reads and loads them anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import psycopg
from psycopg import sql

from sinew.compile.bounds import key_column, within
from sinew.compile.compare import Comparison
from sinew.compile.entity_plan import EntityPlan
from sinew.engine.batch import get_batch
from sinew.engine.comparing import EntityProof

COMMA = sql.SQL(", ")
Keys = list[tuple[str | None, ...]]


def reopen(home: psycopg.Connection, plan: EntityPlan, proof: EntityProof, phase: str) -> int:
    """Mark the batches that a difference lies in as mismatched; returns how many."""
    if proof.equal:
        return 0
    if plan.keyless or not proof.source.complete or not proof.target.complete:
        return _mark(home, plan, None, None)
    found = _by_phase(home, plan, _source_keys(home, plan, proof), phase)
    # A row that is missing from the ledger, or brought by another phase, belongs to the phase that looked for it.
    found[phase] += [d.key for d in proof.source.differences if d.kind == "missing"]
    return sum(_mark(home, plan, of_phase, keys) for of_phase, keys in found.items() if keys)


def _source_keys(home: psycopg.Connection, plan: EntityPlan, proof: EntityProof) -> Keys:
    """Source keys of all differences that the ledger knows; a target row that nobody claims has none."""
    known = [d.key for d in proof.source.differences if d.kind != "missing"]
    return known + _of_target(home, plan, proof.target)


def _of_target(home: psycopg.Connection, plan: EntityPlan, result: Comparison) -> Keys:
    targets = [d.key for d in result.differences if d.kind != "extra"]
    if not targets or not plan.target_key:
        return []
    names = [f"t{i}" for i in range(1, len(plan.target_key) + 1)]
    keys = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    query = sql.SQL("SELECT {} FROM {} AS w WHERE ({}) IN ({})").format(
        _texts(keys), plan.ledger, _texts(names), _rows(targets)
    )
    return list(home.execute(query).fetchall())


def _by_phase(
    home: psycopg.Connection, plan: EntityPlan, keys: Keys, phase: str
) -> defaultdict[str, Keys]:
    """A row belongs to the phase that brought it; one that no phase of the mapping brought to the phase at hand."""
    found: defaultdict[str, Keys] = defaultdict(list)
    if not keys:
        return found
    names = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    query = sql.SQL(
        "SELECT b.phase, {} FROM {} AS w JOIN sinew.batch AS b ON b.id = w.batch_id WHERE ({}) IN ({})"
    ).format(_texts(names), plan.ledger, _texts(names), _rows(keys))
    phases = {item.name for item in plan.migration.phases}
    brought = {tuple(key): name for name, *key in home.execute(query).fetchall() if name in phases}
    for key in keys:
        found[brought.get(tuple(key), phase)].append(key)
    return found


def _mark(home: psycopg.Connection, plan: EntityPlan, phase: str | None, keys: Keys | None) -> int:
    rows = home.execute(
        "SELECT id FROM sinew.batch WHERE mapping = %s AND entity = %s AND state = 'validated' "
        "AND phase = coalesce(%s, phase)",
        (plan.migration.name, plan.entity.name, phase),
    ).fetchall()
    wanted = [row[0] for row in rows if keys is None or _holds(home, plan, row[0], keys)]
    home.execute("UPDATE sinew.batch SET state = 'mismatched' WHERE id = ANY(%s)", (wanted,))
    return len(wanted)


def _holds(home: psycopg.Connection, plan: EntityPlan, batch_id: int, keys: Keys) -> bool:
    """Whether any of the keys lies in the batch's range; the database compares, in its own order."""
    range_ = get_batch(home, batch_id).range
    names = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    typed = [
        key_column(sql.SQL("d.{}::{}").format(sql.Identifier(name), sql.SQL(type_.sql)), type_)
        for name, type_ in zip(names, plan.key_types, strict=True)
    ]
    query = sql.SQL("SELECT EXISTS (SELECT FROM ({}) AS d ({}) WHERE {})").format(
        _rows(keys), COMMA.join(map(sql.Identifier, names)), within(typed, plan.key_types, range_)
    )
    return home.execute(query).fetchone() == (True,)


def _texts(names: Sequence[str]) -> sql.Composable:
    return COMMA.join(sql.SQL("w.{}::text").format(sql.Identifier(name)) for name in names)


def _rows(keys: Sequence[tuple[str | None, ...]]) -> sql.Composable:
    rows = [
        sql.SQL("({})").format(COMMA.join(sql.SQL("{}::text").format(part) for part in key))
        for key in keys
    ]
    return sql.SQL("VALUES {}").format(COMMA.join(rows))
