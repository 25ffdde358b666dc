"""Tasks that end a phase: settle, reconcile, swap, complete."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from airflow.sdk import Asset

from sinew.operators.base import Run, SinewOperator


def entity_asset(migration: str, entity: str) -> Asset:
    """The asset that stands for an entity's rows in the target."""
    return Asset(name=f"{migration}.{entity}", uri=f"sinew://{migration}/{entity}", group="sinew")


class SettleOperator(SinewOperator):
    """Fill references that had to wait until all rows of the phase were there."""

    ui_color: str = "#e4dcef"

    def work(self, run: Run) -> None:
        """Run the phase's second pass."""
        from sinew.engine.settle import settle

        assert self.phase is not None
        for column, count in settle(run.engine, self.phase).items():
            self.log.info("%s: %s references filled", column, count)


class ReconcileOperator(SinewOperator):
    """Prove the phase: source, row ledger and target agree row by row; business checks hold.

    The one task that tells of new rows by assets: loads would wake their consumers in mid-phase.
    """

    ui_color: str = "#e4dcef"

    def work(self, run: Run) -> None:
        """Compare, and put row counts on the assets."""
        from sinew.engine.phases import entity_rows
        from sinew.engine.prove import prove_phase

        assert self.phase is not None
        proof = prove_phase(run.engine, self.phase)
        self.log.info(
            "%s entities and %s business checks agree", len(proof.entities), len(proof.business)
        )
        moved = entity_rows(run.engine, self.phase)
        for asset in self.outlets:
            found = moved.get(asset.name.partition(".")[2])
            if found:
                extra = asdict(found) | {"phase": self.phase}
                run.airflow["outlet_events"][asset].extra = extra


class SwapOperator(SinewOperator):
    """Exchange all live tables with their proved shadows, in one transaction."""

    ui_color: str = "#f3d6d0"

    def work(self, run: Run) -> None:
        """Swap, unless an earlier try has."""
        from sinew.engine.ledger import swapped
        from sinew.engine.session import connect, translated
        from sinew.engine.shadows import swap

        doing = f"swap {self.migration}"
        with connect(run.engine.home, step="swap") as home, translated(doing):
            if swapped(home, run.engine.migration):
                self.log.info("The tables were swapped in before")
                return
            tables = swap(home, run.engine.migration)
        self.log.info("Swapped in: %s; the old ones are in schema sinew_old", ", ".join(tables))


class CompleteOperator(SinewOperator):
    """Fail unless the ledger says that the phase is complete: a skipped task proves nothing."""

    ui_color: str = "#e4dcef"

    def work(self, run: Run) -> Any:
        """Ask the ledger."""
        from sinew.engine.phases import require_complete

        assert self.phase is not None
        require_complete(run.engine, self.phase)
        self.log.info("Phase %s is complete", self.phase)
