"""The last task of a sync's run."""

from __future__ import annotations

from dataclasses import asdict

from sinew.operators.sync_base import SyncOperator, SyncRun
from sinew.operators.sync_step import planned


class SyncCompleteOperator(SyncOperator):
    """Close the window if all its batches are validated, and write down how far the sync has read.

    The one task that tells of new rows by assets: loads would wake their consumers in mid-run.
    """

    ui_color: str = "#e4dcef"

    def work(self, run: SyncRun) -> None:
        """Close the window, and put row counts on the assets."""
        from sinew.engine.windows import complete_window

        plan = planned(run)
        done = complete_window(run.engine, plan["run"])
        for asset in self.outlets:
            found = done.get(asset.name.partition(".")[2])
            if found:
                extra = asdict(found) | {"from": plan["from"], "to": plan["to"]}
                run.airflow["outlet_events"][asset].extra = extra
        for rows in done.values():
            self.log.info("%s", rows)
