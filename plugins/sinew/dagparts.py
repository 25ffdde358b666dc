"""What the DAGs of migrations and of syncs have in common."""

from __future__ import annotations

from datetime import timedelta

STEPS = ("extract", "transform", "check", "load", "validate")

DEFAULTS = {
    "owner": "sinew",
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=2),
}

# What each step's page in Airflow's UI says.
STEP_DOCS = {
    "extract": "Source → landing: one `COPY` in one snapshot of the source, hashed on both sides.",
    "transform": "Landing → staging: the mapping's transforms as SQL. A row that cannot be "
    "converted becomes a reject in `sinew.reject`.",
    "check": "The gate: the entity's contract judges the batch's staging. If it fails, mend data, "
    "mapping or contract, then clear this task with all that follows.",
    "load": "Staging → target, in one transaction with the row ledger; impossible without a "
    "passed gate.",
    "validate": "Target and staging agree row by row; then the batch's tables are dropped.",
}
