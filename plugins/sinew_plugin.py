"""Pages of Sinew in the Airflow UI: a list of migrations and syncs, and the reports of phases.

Airflow loads this file in every task, so it imports what it needs where the API server asks for it.
Airflow mounts a plugin's pages without any protection: each route asks for a login itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import FastAPI, Request
    from fastapi.responses import Response

    from sinew.engine.phases import PhaseStatus
    from sinew.engine.window_status import WindowStatus
    from sinew.spec import Migration
    from sinew.spec.sync import Sync

URL_PREFIX = "/sinew"

# Text, tables and drawings: nothing on a page may run or be fetched, whatever a row's value says.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SinewPlugin(AirflowPlugin):
    """What Airflow finds: the pages, and a place for them in its menu."""

    name = "sinew"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages; made when the API server asks, because FastAPI takes half a second to load."""
        return [{"app": make_app(), "url_prefix": URL_PREFIX, "name": "Sinew"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The entry in Airflow's menu.

        It opens a page of its own: inside Airflow's frame, which has no right to navigate, the
        links to the DAGs would lead nowhere.
        """
        href = f"{_base_path()}{URL_PREFIX}/"
        return [
            {
                "name": "Migrations and syncs",
                "href": href,
                "destination": "nav",
                "category": "browse",
            }
        ]


def _base_path() -> str:
    """The path that Airflow is served under; '' for the root."""
    from urllib.parse import urlsplit

    from airflow.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def make_app() -> FastAPI:
    """The pages, as Airflow mounts them."""
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import HTMLResponse

    from sinew.errors import SinewError

    app = FastAPI(title="Sinew", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(SinewError, _unavailable)

    may_read = Depends(requires_access_dag("GET"))

    @app.get("/report/{dag_id}/{report_id}", dependencies=[may_read], response_model=None)
    def report(dag_id: str, report_id: int) -> Response:
        html = _report(dag_id, report_id)
        if html is None:
            raise HTTPException(404, "There is no such report")
        return HTMLResponse(html, headers=_HEADERS)

    @app.get("/", response_model=None)
    def overview(user: Any = Depends(get_user)) -> Response:  # noqa: B008
        return HTMLResponse(_overview(user), headers=_HEADERS)

    return app


def _refused(request: Request, error: Any) -> Response:
    """A browser without a login is sent to it; anything else gets the status."""
    from fastapi.responses import JSONResponse, RedirectResponse

    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        there = quote(f"{_base_path()}{request.url.path}", safe="")
        return RedirectResponse(f"{_base_path()}/api/v2/auth/login?next={there}")
    return JSONResponse({"detail": error.detail}, error.status_code, headers=_HEADERS)


def _unavailable(request: Request, error: Exception) -> Response:
    from fastapi.responses import PlainTextResponse

    return PlainTextResponse(str(error), 503, headers=_HEADERS)


# --- what the pages show


def _report(dag_id: str, report_id: int) -> str | None:
    from sinew.dagbuild import PREFIX
    from sinew.engine.phases import read_report
    from sinew.hooks.connections import endpoint
    from sinew.hooks.mappings import read_migrations

    migration = read_migrations().get(dag_id.removeprefix(PREFIX))
    if migration is None or not dag_id.startswith(PREFIX):
        return None
    return read_report(endpoint(migration.target.conn), migration.name, report_id)


def _overview(user: Any) -> str:
    from sinew.dagbuild import PREFIX
    from sinew.hooks.mappings import read_migrations, read_syncs
    from sinew.syncbuild import PREFIX as SYNC_PREFIX

    migrations = [
        _section(each) for each in _readable(read_migrations) if _may_read(user, PREFIX + each.name)
    ]
    syncs = [
        _sync_section(each)
        for each in _readable(read_syncs)
        if _may_read(user, SYNC_PREFIX + each.name)
    ]
    body = _part("Migrations", "migration", migrations) + _part("Syncs", "sync", syncs)
    title = "Migrations and syncs"
    return f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>{body}"


def _readable(read: Callable[[], dict[str, Any]]) -> list[Any]:
    """What can be listed: one broken file must not hide the other kind of pipelines."""
    from sinew.errors import SpecError

    try:
        return list(read().values())
    except SpecError:
        # Airflow's own list of import errors says what is wrong.
        return []


def _part(title: str, what: str, sections: list[str]) -> str:
    return f"<h1>{title}</h1>" + (
        "".join(sections) or f"<p>There is no {what} that you may see.</p>"
    )


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color-scheme: light dark; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #8886; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.complete { color: #2e8b57; } .failed { color: #c0392b; } .running { color: #b8860b; }
"""


def _may_read(user: Any, dag_id: str) -> bool:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

    details = DagDetails(id=dag_id)
    return get_auth_manager().is_authorized_dag(method="GET", details=details, user=user)


def _section(migration: Migration) -> str:
    from sinew.dagbuild import PREFIX
    from sinew.engine.phases import phase_states
    from sinew.errors import SinewError
    from sinew.hooks.connections import endpoint

    dag_id = PREFIX + migration.name
    head = _head(dag_id, migration)
    try:
        phases = phase_states(endpoint(migration.target.conn), migration.name)
    except SinewError as error:
        return f"{head}<p class=failed>{escape(str(error))}</p>"
    return head + (_table(dag_id, phases) if phases else "<p>Not planned yet.</p>")


def _head(dag_id: str, pipeline: Migration | Sync) -> str:
    link = f'<a href="{escape(_base_path())}/dags/{dag_id}">{pipeline.name}</a>'
    return f"<h2>{link}</h2><p>{escape(pipeline.description)}</p>"


def _sync_section(sync: Sync) -> str:
    from sinew.engine.window_status import sync_status
    from sinew.errors import SinewError
    from sinew.hooks.connections import endpoint
    from sinew.syncbuild import PREFIX

    head = _head(PREFIX + sync.name, sync)
    try:
        found = sync_status(endpoint(sync.home_conn), sync.name, most=5)
    except SinewError as error:
        return f"{head}<p class=failed>{escape(str(error))}</p>"
    if not found.windows:
        return f"{head}<p>Not run yet.</p>"
    names = "<tr><th>From<th>To<th>State<th>Rows read<th>Loaded<th>Rejected</tr>"
    return f"{head}<table>{names}{''.join(map(_window_row, found.windows))}</table>"


def _window_row(window: WindowStatus) -> str:
    lower = _moment(window.lower) if window.lower else "the last run"
    counts = [sum(each[n] for each in window.entities) for n in ("read", "loaded", "rejected")]
    cells = "".join(f"<td class=n>{count:,}" for count in counts)
    return f"<tr><td>{lower}<td>{_moment(window.upper)}<td class={window.state}>{window.state}{cells}</tr>"


def _moment(moment: datetime) -> str:
    from datetime import UTC

    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _table(dag_id: str, phases: Iterable[PhaseStatus]) -> str:
    head = "<tr><th>Phase<th>State<th>Batches<th>Rows loaded<th>Rejected<th>Report</tr>"
    return f"<table>{head}{''.join(_row(dag_id, phase) for phase in phases)}</table>"


def _row(dag_id: str, phase: PhaseStatus) -> str:
    from sinew.operators.report_link import report_path

    batches = ", ".join(f"{count} {state}" for state, count in phase.batches.items())
    link = ""
    if phase.report is not None:
        path = escape(report_path(dag_id, phase.report))
        link = f'<a href="{path}">open</a>'
    return (
        f"<tr><td>{phase.name}<td class={phase.state}>{phase.state}<td>{escape(batches)}"
        f"<td class=n>{phase.loaded:,}<td class=n>{phase.rejected:,}<td>{link}</tr>"
    )
