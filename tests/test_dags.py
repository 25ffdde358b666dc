"""DAGs as Airflow gets them: their ids, their graphs, what they cost to build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fix_airflow import MAPPING, ROOT

STEPS = ["extract", "transform", "check", "load", "validate"]


def dag_of(text: str) -> Any:
    """The DAG of a mapping's text."""
    from sinew.dagbuild import build_dag
    from sinew.spec import parse_mapping

    return build_dag(parse_mapping(text))


@pytest.fixture(scope="module")
def shop() -> Any:
    """A mapping of two phases; the second one is approved by a person."""
    return dag_of(
        MAPPING.format(name="shop", approval="true").replace("contracts: contracts/shop\n", "")
    )


def wide(entities: int, strategy: str = "trickle") -> str:
    """A mapping with many entities, each of which refers to the one before."""
    lines = [
        "migration: wide",
        f"strategy: {strategy}",
        "source: {conn: a}",
        "target: {conn: b}",
        "entities:",
    ]
    for n in range(entities):
        ref = f", up: {{ref: e{n - 10}, by: UP}}" if n >= 10 else ""
        lines.append(f"  e{n}: {{from: T{n}, key: [ID], columns: {{id: {{key: copy}}{ref}}}}}")
    return "\n".join(lines)


class TestTheFile:
    def test_it_holds_a_dag_for_each_mapping_and_imports_without_error(self) -> None:
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(dag_folder=ROOT / "dags" / "migrations.py")
        assert bag.import_errors == {}
        names = {f.stem for f in (ROOT / "include" / "mappings" / "migrations").glob("*.yaml")}
        assert set(bag.dags) == {f"migrate__{name}" for name in names}

    def test_broken_mappings_are_told_all_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sinew.dagbuild import build_migrations
        from sinew.errors import SpecError

        folder = tmp_path / "mappings" / "migrations"
        folder.mkdir(parents=True)
        for name in ("one", "two"):
            (folder / f"{name}.yaml").write_text(f"migration: {name}\nsorce: {{}}\n")
        monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
        with pytest.raises(SpecError) as raised:
            build_migrations()
        assert "one.yaml" in str(raised.value)
        assert "two.yaml" in str(raised.value)

    def test_a_task_builds_its_own_dag_though_another_mapping_is_broken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sinew.dagbuild import build_migrations

        folder = tmp_path / "mappings" / "migrations"
        folder.mkdir(parents=True)
        (folder / "broken.yaml").write_text("migration: [")
        (folder / "wide.yaml").write_text(wide(2))
        monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
        assert list(build_migrations(only="migrate__wide")) == ["migrate__wide"]
        assert build_migrations(only="another_dag") == {}

    def test_parsing_takes_less_than_a_second_and_loads_no_heavy_library(self) -> None:
        code = (
            "import sys, time, json\n"
            "from airflow.sdk import DAG\n"
            "began = time.process_time()\n"
            "from sinew.dagbuild import build_migrations\n"
            "build_migrations()\n"
            "heavy = {'pandas', 'soda_core', 'psycopg', 'sqlglot'} & set(sys.modules)\n"
            "print(json.dumps([time.process_time() - began, sorted(heavy)]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(ROOT / "plugins")},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, heavy = json.loads(done.stdout.splitlines()[-1])
        assert heavy == []
        assert seconds < 1


class TestTheGraph:
    def test_each_entity_is_a_mapped_group_of_five_steps(self, shop: Any) -> None:
        group = shop.task_group.get_task_group_dict()["pilot.customers"]
        assert [child.split(".")[-1] for child in group.children] == STEPS
        below = [shop.get_task(f"pilot.customers.{step}") for step in STEPS]
        for above, task in zip(below, below[1:], strict=False):
            assert above.task_id in task.upstream_task_ids

    def test_children_wait_for_their_parents_and_nobody_else(self, shop: Any) -> None:
        orders = shop.get_task("pilot.orders.extract").upstream_task_ids
        assert orders == {"pilot.lists.orders", "pilot.customers.validate"}
        notes = shop.get_task("pilot.notes.extract").upstream_task_ids
        assert notes == {"pilot.lists.notes"}

    def test_an_entity_that_does_not_reach_the_root_moves_in_the_first_phase_only(
        self, shop: Any
    ) -> None:
        assert shop.has_task("pilot.notes.load")
        assert not shop.has_task("rest.notes.load")

    def test_what_joins_or_begins_runs_after_skipped_tasks(self, shop: Any) -> None:
        inner = tuple(f".{step}" for step in STEPS[1:])
        expected = {"plan": "all_success", "pilot.report": "all_done", "rest.report": "all_done"}
        for task in shop.tasks:
            if not task.task_id.endswith(inner):
                wanted = expected.get(task.task_id, "none_failed")
                assert task.trigger_rule.value == wanted, task.task_id

    def test_a_phase_follows_the_end_of_the_one_before(self, shop: Any) -> None:
        assert shop.get_task("rest.approve").upstream_task_ids == {"pilot.complete"}
        assert shop.get_task("rest.batches").upstream_task_ids == {"rest.approve"}
        complete = shop.get_task("rest.complete")
        assert complete.upstream_task_ids == {"rest.reconcile", "rest.report"}
        assert complete.downstream_task_ids == set()

    def test_a_refused_approval_fails_at_once(self, shop: Any) -> None:
        approve = shop.get_task("rest.approve")
        assert approve.fail_on_reject
        assert approve.retries == 0

    def test_reconcile_alone_tells_the_assets(self, shop: Any) -> None:
        outlets = {
            task.task_id: {a.uri for a in task.outlets} for task in shop.tasks if task.outlets
        }
        keyed = {"sinew://shop/customers", "sinew://shop/orders"}
        assert outlets == {
            "pilot.reconcile": keyed | {"sinew://shop/notes"},
            "rest.reconcile": keyed,
        }

    def test_a_big_bang_swaps_after_its_proof(self) -> None:
        dag = dag_of(wide(2, strategy="big_bang"))
        assert dag.get_task("all.swap").upstream_task_ids == {"all.reconcile"}
        assert dag.get_task("all.complete").upstream_task_ids == {"all.swap", "all.report"}

    def test_many_entities_share_a_group_for_each_level_of_keys(self) -> None:
        assert "all.level_1" not in dag_of(wide(40)).task_group.get_task_group_dict()
        dag = dag_of(wide(41))
        groups = dag.task_group.get_task_group_dict()
        assert [g for g in groups if g and "level" in g] == [f"all.level_{n}" for n in range(1, 6)]
        assert dag.get_task("all.lists.level_1").entities == [f"e{n}" for n in range(10)]
        assert "all.level_1.validate" in dag.get_task("all.level_2.extract").upstream_task_ids

    def test_the_form_offers_the_phases(self, shop: Any) -> None:
        phases = shop.params.get_param("phases")
        assert phases.value == ["pilot", "rest"]
        assert phases.schema["items"]["enum"] == ["pilot", "rest"]

    def test_one_run_at_a_time_and_none_by_itself(self, shop: Any) -> None:
        assert shop.max_active_runs == 1
        assert not shop.catchup
        assert not shop.timetable.can_be_scheduled

    def test_it_is_the_same_each_time_it_is_built(self) -> None:
        from airflow.serialization.serialized_objects import DagSerialization

        text = MAPPING.format(name="shop", approval="true").replace(
            "contracts: contracts/shop\n", ""
        )
        built = [json.dumps(DagSerialization.to_dict(dag_of(text)), sort_keys=True) for _ in "ab"]
        assert built[0] == built[1]


class TestThePlanInPlainWords:
    def test_it_tells_phases_order_columns_and_is_the_dags_page(self, shop: Any) -> None:
        assert shop.doc_md.startswith("# Migration shop\n")
        for words in (
            'customers where `"NO" % 10 = 0`',
            "a person approves before it starts",
            "Whole in the first phase: notes.",
            "| `name` | `NAME` | trim | the row is rejected |",
            "| `customer_id` | key of customers by `CUST_NO` |",
        ):
            assert words in shop.doc_md

    def test_a_value_with_a_pipe_or_a_backtick_does_not_break_its_table(self) -> None:
        text = MAPPING.format(name="shop", approval="false").replace(
            "contracts: contracts/shop\n", ""
        )
        dag = dag_of(text.replace("do: [trim]", "do: [{check: '^(a|b`c)$'}]"))
        assert "| `name` | `NAME` | check ``^(a\\|b`c)$`` | the row is rejected |" in dag.doc_md
