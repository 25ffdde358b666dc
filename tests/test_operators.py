"""Runs of migrations under a real Airflow: what is moved, what is skipped, what stops."""

from __future__ import annotations

import pytest

from tests.fix_airflow import STRICT, Airflow

pytestmark = pytest.mark.slow


def moved(airflow: Airflow) -> list[int]:
    """Rows in the new shop: customers, orders, notes."""
    tables = ("customers", "orders", "notes")
    return [airflow.new(f"SELECT count(*) FROM shop.{table}")[0][0] for table in tables]


class TestPhases:
    def test_a_phase_without_batches_does_not_skip_the_next_phase(self, airflow: Airflow) -> None:
        dag_id = airflow.mapping("phases")

        first = airflow.run(dag_id, phases=["pilot"])
        assert first.state == "success"
        assert moved(airflow) == [5, 10, 5]
        assert set(first.of("rest.customers").values()) == {"skipped"}
        assert first.tasks["rest.complete"] == "skipped"

        second = airflow.run(dag_id)
        assert second.state == "success"
        assert set(second.of("pilot.customers").values()) == {"skipped"}
        assert second.states("pilot.complete", "rest.complete") == {"success"}
        assert moved(airflow) == [50, 100, 5]

    def test_a_later_phase_is_not_begun_before_an_earlier_one(self, airflow: Airflow) -> None:
        found = airflow.run(airflow.mapping("later"), phases=["rest"])
        assert found.state == "failed"
        assert found.tasks["plan"] == "failed"
        assert moved(airflow) == [0, 0, 0]

    def test_a_dry_run_writes_nothing(self, airflow: Airflow) -> None:
        found = airflow.run(airflow.mapping("dry"), dry_run=True)
        assert found.state == "success"
        assert found.tasks["plan"] == "success"
        assert found.states("pilot.reconcile", "rest.report") == {"skipped"}
        assert airflow.new("SELECT to_regclass('sinew.batch')") == [(None,)]


class TestAFailedGate:
    def test_it_stops_its_children_and_its_phase_but_not_its_neighbours(
        self, airflow: Airflow
    ) -> None:
        airflow.contract(STRICT)
        dag_id = airflow.mapping("gate")

        failed = airflow.run(dag_id)
        assert failed.state == "failed"
        assert failed.tasks["pilot.customers.check[0]"] == "failed"
        assert failed.tasks["pilot.notes.validate[0]"] == "success"
        assert set(failed.of("pilot.orders").values()) == {"upstream_failed"}
        assert failed.tasks["pilot.report"] == "success"
        assert failed.states("pilot.complete", "rest.batches") == {"upstream_failed"}
        assert moved(airflow) == [0, 0, 5]

        airflow.new("UPDATE sinew.batch SET error = NULL")
        airflow.contract(STRICT.replace("^[^0]+$", "."))
        mended = airflow.clear(dag_id, failed, "pilot.customers.check", 0)
        assert mended.state == "success"
        assert set(mended.tasks.values()) == {"success"}
        assert moved(airflow) == [50, 100, 5]


class TestApproval:
    def test_a_refusal_stops_the_run_and_is_kept_with_the_persons_name(
        self, served: Airflow
    ) -> None:
        dag_id = served.mapping("refused", approval=True)
        process = served.start("run", dag_id, "{}")
        served.answer(dag_id, "rest.approve", "Reject")
        found = served.finish(process)
        assert found.state == "failed"
        assert found.tasks["rest.approve"] == "failed"
        assert found.tasks["rest.batches"] == "upstream_failed"
        assert moved(served) == [5, 10, 5]
        kept = served.new("SELECT mapping, phase, person, decision FROM sinew.approval")
        assert kept == [("refused", "rest", "admin", "Reject")]

    def test_an_approval_lets_the_phase_begin_and_is_not_asked_for_again(
        self, served: Airflow
    ) -> None:
        dag_id = served.mapping("approved", approval=True)
        process = served.start("run", dag_id, "{}")
        served.answer(dag_id, "rest.approve", "Approve")
        assert served.finish(process).state == "success"
        assert moved(served) == [50, 100, 5]
        assert served.new("SELECT person, decision FROM sinew.approval") == [("admin", "Approve")]

        again = served.run(dag_id)
        assert again.state == "success"
        assert again.tasks["rest.approve"] == "skipped"
