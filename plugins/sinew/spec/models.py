"""What a migration's mapping file says, as one frozen model; one field for each key of the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sinew.spec.parts import BatchSize, BusinessCheck, Cohort, Entity, Name, Phase, Source, Target
from sinew.spec.pipeline import Pipeline


class Migration(Pipeline):
    """One mapping file: what is moved, from where, to where, how, and how it is proved."""

    name: Name = Field(
        alias="migration",
        description="Name of the migration and of everything made for it.",
        examples=["retail"],
    )
    strategy: Literal["trickle", "big_bang"] = Field(
        default="trickle",
        description="`trickle` loads phase after phase into the live tables; `big_bang` loads "
        "shadow tables and swaps all of them in when everything is proved.",
        examples=["trickle"],
    )
    source: Source = Field(
        description="The database that is read.", examples=[{"conn": "legacy_retail"}]
    )
    target: Target = Field(
        description="The database that is filled.",
        examples=[{"conn": "commerce", "schema": "commerce"}],
    )
    cohort: Cohort | None = Field(
        default=None, description="What the phases select.", examples=[{"root": "customers"}]
    )
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = Field(
        default=(Phase(name="all"),),
        description="Cohorts in the order in which they move; default: one phase named `all`.",
        examples=[[{"name": "pilot", "where": "hshd_no % 20 = 0"}, {"name": "rest"}]],
    )
    batch: BatchSize = Field(
        default=BatchSize(), description="The size of batches.", examples=[{"rows": 1_000_000}]
    )
    entities: Annotated[dict[Name, Entity], Field(min_length=1)] = Field(
        description="Entity's name to what it reads and fills.",
        examples=[{"customers": {"from": "CUST_MASTER", "columns": {"source": {"value": "old"}}}}],
    )
    reconcile: tuple[BusinessCheck, ...] = Field(
        default=(), description="Business checks, run after each phase.", examples=[[]]
    )
