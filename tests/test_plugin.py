"""The plugin's pages on a real API server: who gets in, and what they see."""

from __future__ import annotations

import pytest

from tests.fix_airflow import Airflow

pytestmark = pytest.mark.slow

PAGE = "<!doctype html><title>Report</title><p>42 rows</p>"
REPORT = "/sinew/report/migrate__paged/1"
SYNC = """\
sync: stock
source: {conn: old_shop}
target: {conn: new_shop}
entities:
  stock: {from: STOCK, key: [SKU], columns: {sku: {key: copy}}}
"""


@pytest.fixture
def paged(served: Airflow) -> Airflow:
    """A migration with one report in its ledger."""
    from sinew.engine.ledger import upgrade
    from sinew.engine.session import Endpoint, connect

    served.mapping("paged")
    with connect(Endpoint("new_shop", served.dsn("new_shop"))) as home:
        upgrade(home)
        home.execute(
            "INSERT INTO sinew.phase (mapping, name, position, state) "
            "VALUES ('paged', 'pilot', 0, 'complete')"
        )
        home.execute(
            "INSERT INTO sinew.report (mapping, phase, run_id, html, body) "
            "VALUES ('paged', 'pilot', 'r', %s, '{}'), ('other', 'pilot', 'r', 'secret', '{}')",
            (PAGE,),
        )
    return served


def bearer(airflow: Airflow) -> dict[str, str]:
    return {"Authorization": f"Bearer {airflow.token}"}


class TestWhoGetsIn:
    @pytest.mark.parametrize("path", [REPORT, "/sinew/"])
    def test_a_browser_without_a_login_is_sent_to_it_and_back(
        self, paged: Airflow, path: str
    ) -> None:
        found = paged.get(path, Accept="text/html")
        assert found.status == 307
        target = found.headers["location"]
        assert target == f"/api/v2/auth/login?next={path.replace('/', '%2F')}"

    @pytest.mark.parametrize("path", [REPORT, "/sinew/"])
    def test_a_program_without_a_token_is_refused(self, paged: Airflow, path: str) -> None:
        assert paged.get(path).status == 401

    def test_a_forged_token_is_refused(self, paged: Airflow) -> None:
        assert paged.get(REPORT, Authorization="Bearer forged").status == 403
        assert paged.get(REPORT, Cookie="_token=forged").status in (401, 403)

    def test_the_login_of_the_ui_lets_in(self, paged: Airflow) -> None:
        assert paged.get(REPORT, Cookie=f"_token={paged.token}").status == 200


class TestPages:
    def test_a_report_is_shown_as_stored_and_nothing_in_it_may_run(self, paged: Airflow) -> None:
        found = paged.get(REPORT, **bearer(paged))
        assert (found.status, found.text) == (200, PAGE)
        policy = found.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "script-src" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize(
        "path",
        ["migrate__paged/99", "migrate__paged/2", "migrate__other/2", "paged/1", "migrate__no/1"],
    )
    def test_what_is_not_this_migrations_report_is_not_found(
        self, paged: Airflow, path: str
    ) -> None:
        found = paged.get(f"/sinew/report/{path}", **bearer(paged))
        assert found.status == 404
        assert "secret" not in found.text

    def test_the_overview_lists_phases_with_their_reports(self, paged: Airflow) -> None:
        found = paged.get("/sinew/", **bearer(paged))
        assert found.status == 200
        assert 'href="/dags/migrate__paged"' in found.text
        assert f'href="{REPORT}"' in found.text
        assert "complete" in found.text

    def test_the_overview_lists_syncs_with_their_last_windows(self, paged: Airflow) -> None:
        dag_id = paged.sync("stock", SYNC)
        before = paged.get("/sinew/", **bearer(paged))
        assert f'href="/dags/{dag_id}"' in before.text
        assert "Not run yet." in before.text
        paged.new(
            'INSERT INTO sinew."window" (mapping, lower, upper, run_id, state) '
            "VALUES ('stock', '2026-03-29T01:00Z', '2026-03-30T00:00Z', 'r', 'complete')"
        )
        found = paged.get("/sinew/", **bearer(paged))
        assert "2026-03-29 01:00:00 UTC<td>2026-03-30 00:00:00 UTC<td class=complete>" in found.text

    def test_a_broken_sync_does_not_hide_the_migrations(self, paged: Airflow) -> None:
        paged.sync("stock", "sync: [")
        found = paged.get("/sinew/", **bearer(paged))
        assert found.status == 200
        assert 'href="/dags/migrate__paged"' in found.text

    def test_the_menu_has_an_entry(self, paged: Airflow) -> None:
        plugin = paged.service.api("GET", "/api/v2/plugins")["plugins"]
        views = [view for each in plugin for view in each["external_views"]]
        assert [(v["name"], v["href"]) for v in views] == [("Migrations and syncs", "/sinew/")]


class TestTheReportsLink:
    def test_a_finished_report_task_links_to_its_report(self, served: Airflow) -> None:
        dag_id = served.mapping("linked")
        run = served.run(dag_id, phases=["pilot"])
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run.run_id}/taskInstances/pilot.report/links"
        link = served.service.api("GET", path)["extra_links"]["Report"]
        assert link.startswith(f"/sinew/report/{dag_id}/")
        assert served.get(link, **bearer(served)).status == 200
