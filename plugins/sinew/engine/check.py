"""Check: the gate. A batch passes only if its contract was judged whole, and its rejects are within the limit."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import yaml

from sinew.compile.contract import (
    Reference,
    StagingFacts,
    compile_contract,
    contract_fingerprint,
)
from sinew.compile.entity_plan import EntityPlan, ledger_name
from sinew.compile.transform_sql import staging_totals
from sinew.engine.batch import Batch, advance
from sinew.engine.gate import (
    CheckOutcome,
    GateResult,
    evaluate,
    evaluate_empty,
    masked_samples,
)
from sinew.engine.session import Endpoint, translated
from sinew.errors import ConfigurationError, GateFailedError, InputLostError
from sinew.paths import include_folder
from sinew.spec.columns import RefColumn

log = logging.getLogger(__name__)


def check(endpoint: Endpoint, home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Judge staging by the entity's Soda contract and the compiled baseline; the verdict is kept with its data's hash.

    Raises GateFailedError after the failed gate is recorded.
    """
    began = monotonic()
    with translated(f"check {batch.title}"):
        _prove_input(home, plan, batch)
        result, samples = _judge(endpoint, home, plan, batch)
        with home.transaction():
            _record(home, plan, batch, result, samples)
            state = "checked" if result.passed else "gate_failed"
            advance(home, batch, state, "check", monotonic() - began, gate_attempt=batch.attempt)
    if not result.passed:
        for sample in samples:
            rows = "; ".join(
                ", ".join(f"{name}: {value}" for name, value in row.items())
                for row in sample["rows"]
            )
            log.warning("rows that fail %s, personal values masked: %s", sample["check"], rows)
        raise GateFailedError(
            f"check {batch.title}: {result.summary()}. Mend the data, the mapping or the contract, then clear this task"
        )


def _prove_input(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> None:
    """Staging still is what the transform left; an UNLOGGED table is emptied by a crash of the server."""
    rows, _source, hash_ = home.execute(staging_totals(plan, batch.id)).fetchone() or (0, 0, 0)
    if rows != batch.staged_rows or hash_ != batch.staging_hash:
        raise InputLostError(
            f"check {batch.title}: staging holds {rows} rows where {batch.staged_rows} were staged, or their hash "
            "differs; the batch is read again"
        )


def _judge(
    endpoint: Endpoint, home: psycopg.Connection, plan: EntityPlan, batch: Batch
) -> tuple[GateResult, list[dict[str, Any]]]:
    """The verdict, and a few masked rows for each check that failed."""
    user = read_contract(plan)
    limit = _reject_limit(home, plan, batch)
    if not batch.staged_rows:
        # Soda evaluates no aggregate over no rows; such a batch is judged by its counts.
        return evaluate_empty(user).with_check(limit), []
    contract = compile_contract(user, staging_facts(home, plan, batch))
    result = evaluate(endpoint, contract)
    samples = [] if result.passed else masked_samples(home, contract, result, plan.entity.pii)
    return result.with_check(limit), samples


def staging_facts(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> StagingFacts:
    """What the baseline of the contract is compiled from."""
    return StagingFacts(
        database=home.info.dbname,
        schema="sinew_stage",
        table=f"staging_{batch.id}",
        columns=plan.columns,
        key=plan.target_key,
        rows_expected=batch.staged_rows,
        references=tuple(_reference(plan, ref) for ref in plan.refs),
    )


def _reference(plan: EntityPlan, ref: RefColumn) -> Reference:
    parent = plan.migration.entities[ref.entity]
    if plan.delivers:
        # There is no table of parents; which of them the API has is in their row ledger.
        taken = parent.target_key.index(ref.take or parent.target_key[0]) + 1
        ledger = ledger_name(plan.migration.name, ref.entity)
        return Reference((ref.name,), "sinew_rows", ledger, (f"t{taken}",))
    return Reference(
        (ref.name,), plan.target_schema, parent.into, (ref.take or parent.target_key[0],)
    )


def _reject_limit(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> CheckOutcome:
    """The mapping's own limit of rejected rows, as one more check of the gate."""
    limit = plan.migration.max_rejects_of(plan.entity.name)
    rows = batch.rejected_rows or 0
    allowed = limit * _rows_of(home, batch) if isinstance(limit, float) else limit
    return CheckOutcome(
        name="rejected rows are within max_rejects",
        kind="max_rejects",
        column=None,
        outcome="PASSED" if rows <= allowed else "FAILED",
        level="fail",
        value=float(rows),
        threshold=f"<= {allowed:g}",
        failed_rows=rows,
        definition=f"max_rejects: {limit}",
    )


def _rows_of(home: psycopg.Connection, batch: Batch) -> int:
    """What a share of rejects is a share of: the batch, or the phase for rows that have no key to be moved by."""
    if batch.kind != "null_keys":
        return batch.source_rows or 0
    row = home.execute(
        "SELECT sum(expected_rows)::bigint FROM sinew.batch WHERE mapping = %s AND entity = %s AND phase = %s "
        "AND state <> 'stale'",
        (batch.mapping, batch.entity, batch.phase),
    ).fetchone()
    return int(row[0] or 0) if row else 0


def contract_path(plan: EntityPlan) -> Path | None:
    """Where the entity's own contract is, if it has one."""
    if plan.migration.contracts is None:
        return None
    path = include_folder() / plan.migration.contracts / f"{plan.entity.name}.yaml"
    return path if path.is_file() else None


def read_contract(plan: EntityPlan) -> dict[str, Any] | None:
    """The entity's own contract as written; None when it has none."""
    path = contract_path(plan)
    if path is None:
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"contract {path.name} is no YAML: {error}; mend the file"
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"contract {path.name} is no mapping of keys: write a Soda v4 contract"
        )
    return found


def current_contract_fingerprint(plan: EntityPlan) -> str:
    """Fingerprint of all that judges the entity's batches: its contract and its limit of rejects."""
    limit = plan.migration.max_rejects_of(plan.entity.name)
    return hashlib.sha256(
        f"{contract_fingerprint(read_contract(plan))}/{limit}".encode()
    ).hexdigest()


def last_contract_fingerprint(home: psycopg.Connection, batch: Batch) -> str | None:
    """What the batch was last judged by."""
    row = home.execute(
        "SELECT contract FROM sinew.gate WHERE batch_id = %s ORDER BY attempt DESC LIMIT 1",
        (batch.id,),
    ).fetchone()
    return row[0] if row else None


def _record(
    home: psycopg.Connection,
    plan: EntityPlan,
    batch: Batch,
    result: GateResult,
    samples: list[dict[str, Any]],
) -> None:
    home.execute(
        "INSERT INTO sinew.gate (batch_id, attempt, staging_hash, passed, contract, checks, samples, seconds) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            batch.id,
            batch.attempt,
            batch.staging_hash,
            result.passed,
            current_contract_fingerprint(plan),
            json.dumps([asdict(item) for item in result.checks], default=str),
            json.dumps(samples, default=str),
            result.seconds,
        ),
    )
