"""Engines with one rule broken: a test that watches for that rule must fail with them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg

from sinew.compile.entity_plan import EntityPlan
from sinew.engine import batch, check, load, steps
from sinew.engine.batch import Batch


def record_apart_from_the_work() -> None:
    """Load commits its rows, and in another transaction the record of them."""
    advance, work = batch.advance, load.load

    def apart(home: psycopg.Connection, plan: EntityPlan, of: Batch) -> None:
        records: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        load.advance = lambda *args, **values: records.append((args, values))
        work(home, plan, of)
        with home.transaction():
            for args, values in records:
                advance(*args, **values)

    steps.load = apart


def no_proof_of_input() -> None:
    """Check and load believe that staging holds what was staged."""

    def believe(home: psycopg.Connection, plan: EntityPlan, of: Batch) -> Decimal:
        assert of.staging_hash is not None
        return of.staging_hash

    assert hasattr(check, "_prove_input") and hasattr(load, "prove_staging")
    check._prove_input = lambda home, plan, of: None
    load.prove_staging = believe


def any_attempt_may_commit() -> None:
    """A batch moves on whoever asks, also one whose claim was taken over."""
    free = batch.statement("batch/advance").replace("AND b.attempt = %(attempt)s", "")
    assert free != batch.statement("batch/advance")
    known = batch.statement
    batch.statement = lambda name: free if name == "batch/advance" else known(name)
