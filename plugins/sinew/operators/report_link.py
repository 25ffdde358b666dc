"""The task that writes a phase's report, and the link from it to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperator, BaseOperatorLink, conf
from airflow.sdk.exceptions import AirflowSkipException

from sinew.operators.base import Run, SinewOperator

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

# Where the plugin serves its pages.
PREFIX = "/sinew"


def report_path(dag_id: str, report_id: int) -> str:
    """The report's path on the API server, whatever path Airflow itself is served under."""
    base = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return f"{base}{PREFIX}/report/{quote(dag_id, safe='')}/{report_id}"


class ReportLink(BaseOperatorLink):
    """A button on the task's page that opens the report."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The report that this very task wrote; '' when it wrote none."""
        report_id = getattr(operator, "report_id", None)
        return report_path(operator.dag_id, report_id) if report_id else ""


class ReportOperator(SinewOperator):
    """Write the phase's report into the ledger, whether the phase went well or not."""

    ui_color: str = "#dfeeee"
    operator_extra_links = (ReportLink(),)

    def __init__(self, *, batches_task: str, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.batches_task = batches_task
        self.report_id: int | None = None

    def work(self, run: Run) -> int:
        """Write the report; returns its number."""
        from sinew.engine.reporting import store_report

        if run.airflow["ti"].xcom_pull(task_ids=self.batches_task) is None:
            raise AirflowSkipException(f"Nothing to report: phase {self.phase} did not begin")
        assert self.phase is not None
        self.report_id = int(store_report(run.engine, self.phase, run.run_id))
        self.log.info("Report: %s", report_path(self.dag_id, self.report_id))
        return self.report_id
