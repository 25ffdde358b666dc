"""Mapping files: what they mean, and what is said about those that are wrong."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew.errors import SpecError
from sinew.spec import TRANSFORMS, Migration, Step, parse_mapping, read_mapping
from sinew.spec import graph as graphs
from sinew.spec.columns import COLUMN_CLASSES
from sinew.spec.jsonschema import mapping_schema, render
from sinew.spec.positions import load_document
from tests.fix_mapping import HEAD, WHOLE, entity, included

ROOT = Path(__file__).parents[1]


class TestMeaning:
    def test_a_whole_mapping_means_what_it_says(self) -> None:
        mapping = parse_mapping(WHOLE)
        customers, lines = mapping.entities["customers"], mapping.entities["lines"]
        assert (mapping.name, mapping.batch.rows, mapping.parallelism) == ("shop", 500, 2)
        assert [phase.name for phase in mapping.phases] == ["pilot", "rest"]
        assert mapping.phases[0].approval and mapping.phases[0].where == "no % 20 = 0"
        assert (customers.name, customers.into, customers.source_key) == (
            "customers",
            "people",
            ("NO",),
        )
        assert customers.target_key == ("customer_id",)
        assert lines.target_key == ("order_id", "line")
        assert lines.into == "lines"
        assert (mapping.schema_of("lines"), mapping.schema_of("orders")) == ("old", "public")
        assert (mapping.max_rejects_of("lines"), mapping.max_rejects_of("orders")) == (7, 0.01)
        assert (mapping.existing_of("customers"), mapping.existing_of("orders")) == (
            "update",
            "fail",
        )
        assert customers.pii == {"name"}
        assert mapping.entities["notes"].keyless

    def test_a_mapping_without_phases_has_one_named_all(self) -> None:
        mapping = parse_mapping(entity())
        assert [(phase.name, phase.where) for phase in mapping.phases] == [("all", None)]
        assert (mapping.strategy, mapping.max_rejects, mapping.hash) == ("trickle", 0, "auto")

    def test_scalars_mean_what_they_look_like(self) -> None:
        columns = parse_mapping(WHOLE).entities["customers"].columns
        assert columns["origin"].value == "2024-01-31"
        assert columns["friend"].on_error == "null"
        assert columns["flag"].do[0].argument == {"true": ("Y", "1"), "false": ("N", "0")}
        assert columns["kind"].do[0].argument == {"no": "off", "01": "1.50", "gone": None}
        assert columns["name"].do == (
            Step(name="trim"),
            Step(name="nullif", argument=("N/A", "")),
        )

    def test_norway_stays_a_text(self) -> None:
        values = "[no, yes, on, off, y, 010, 1_000, 1:30, 0x1F, true, 1, 1.5, null, ~, 2024-01-31]"
        data = load_document(f"{{no: {values}}}", "m").data
        texts = ["no", "yes", "on", "off", "y", "010", "1_000", "1:30", "0x1F"]
        assert data == {"no": [*texts, True, 1, 1.5, None, None, "2024-01-31"]}

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
    def test_any_quoted_text_survives(self, text: str) -> None:
        assert load_document(json.dumps({text: [text]}, ensure_ascii=False), "m").data == {
            text: [text]
        }

    def test_a_column_knows_which_source_columns_it_names(self) -> None:
        text = "c: {from: A, do: [{concat: [{column: B}, '-', {column: A}]}]}\nid: {key: copy}"
        columns = parse_mapping(entity(text)).entities["things"].columns
        assert columns["c"].reads == ("A", "B")
        assert columns["c"].name == "c"

    def test_models_survive_pickling(self) -> None:
        mapping = parse_mapping(WHOLE)
        again = pickle.loads(pickle.dumps(mapping))
        assert again == mapping
        assert again.entities["customers"].name == "customers"
        assert again.fingerprint() == mapping.fingerprint()

    def test_models_are_frozen(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            parse_mapping(entity()).parallelism = 3  # type: ignore[misc]

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_every_transforms_example_is_read(self, name: str) -> None:
        mapping = parse_mapping(
            entity(f"id: {{key: copy}}\nc: {{from: A, do: [{TRANSFORMS[name].example}]}}")
        )
        assert mapping.entities["things"].columns["c"].do[0].name == name


class TestOrder:
    def test_parents_come_before_children_and_self_references_are_deferred(self) -> None:
        mapping = parse_mapping(WHOLE)
        assert mapping.entity_order == ("customers", "orders", "lines", "notes")
        assert mapping.deferred_refs == {("customers", "friend")}
        assert mapping.parents("lines") == ("orders",)
        assert mapping.parents("customers") == ()

    def test_the_way_to_the_cohorts_root_is_the_shortest_one(self) -> None:
        mapping = parse_mapping(WHOLE)
        path = mapping.cohort_path("lines")
        assert path is not None
        assert [(ref.name, ref.entity) for ref in path] == [
            ("order_id", "orders"),
            ("customer_id", "customers"),
        ]
        assert mapping.cohort_path("customers") == ()
        assert mapping.cohort_path("notes") is None

    def test_a_cycle_with_a_weak_reference_is_broken_there(self) -> None:
        text = HEAD + textwrap.dedent("""\
            entities:
              a: {from: A, key: K, columns: {k: {key: uuid}, b: {ref: b, by: B}}}
              b: {from: B, key: K, columns: {k: {key: uuid}, a: {ref: a, by: A, on_error: null}}}
            """)
        mapping = parse_mapping(text)
        assert mapping.deferred_refs == {("b", "a")}
        assert mapping.entity_order == ("b", "a")

    def test_a_weak_reference_on_no_cycle_is_not_deferred(self) -> None:
        edges = [graphs.Edge("a", "x", "b", True), graphs.Edge("b", "y", "c", False)]
        assert graphs.deferred_edges(edges) == frozenset()
        assert graphs.load_order(["a", "b", "c"], edges) == ("c", "b", "a")

    @given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), max_size=12))
    def test_every_graph_of_weak_references_can_be_loaded(
        self, pairs: list[tuple[str, str]]
    ) -> None:
        edges = [graphs.Edge(child, str(i), up, True) for i, (child, up) in enumerate(pairs)]
        firm = set(edges) - graphs.deferred_edges(edges)
        order = graphs.load_order("abcde", firm)
        assert sorted(order) == list("abcde")
        assert all(order.index(edge.parent) < order.index(edge.child) for edge in firm)
        assert graphs.find_cycles(firm) == []


class TestFingerprint:
    def test_layout_and_comments_do_not_change_it(self) -> None:
        text = entity("id: {key: copy}\nc: {from: A}")
        other = "# a comment\n" + text.replace("{from: A}", "\n        from: 'A'")
        assert parse_mapping(text).fingerprint() == parse_mapping(other).fingerprint()

    def test_any_value_changes_it(self) -> None:
        text = entity("id: {key: copy}\nc: {from: A}")
        changed = text.replace("from: A", "from: B")
        assert parse_mapping(text).fingerprint() != parse_mapping(changed).fingerprint()

    def test_an_included_file_changes_it(self, tmp_path: Path) -> None:
        mapping_file = included(tmp_path)
        before = read_mapping(mapping_file)
        (tmp_path / "include/sql/open.sql").write_text("SELECT 2 AS id")
        after = read_mapping(mapping_file)
        assert before.entities["things"].source.text == "SELECT 1 AS id"
        assert before.fingerprint() != after.fingerprint()
        assert before.entity_fingerprint("things") != after.entity_fingerprint("things")

    def test_a_python_module_changes_it(self, tmp_path: Path) -> None:
        mapping_file = included(tmp_path)
        before = read_mapping(mapping_file).fingerprint()
        module = tmp_path / "include/mappings/python/scores.py"
        module.write_text("def score(frame):\n    return frame['A'] * 2\n")
        assert read_mapping(mapping_file).fingerprint() != before

    def test_an_entitys_own_fingerprint_sees_only_what_decides_its_rows(self) -> None:
        base = parse_mapping(WHOLE)

        def changed(old: str, new: str) -> set[str]:
            assert old in WHOLE
            other = parse_mapping(WHOLE.replace(old, new))
            return {
                name
                for name in base.entities
                if base.entity_fingerprint(name) != other.entity_fingerprint(name)
            }

        assert changed("cents / 100.0", "cents / 10.0") == {"orders"}
        assert changed("from: NAME", "from: NAME2") == {"customers"}
        assert changed("customer_id: {key: uuid}", "customer_id: {key: copy}") == {
            "customers",
            "orders",
            "lines",
        }
        assert changed("max_rejects: 7", "max_rejects: 8") == set()
        assert changed("no % 20 = 0", "no % 10 = 0") == set()


class TestPositions:
    def test_a_value_knows_its_place(self) -> None:
        mapping = parse_mapping(WHOLE, file="m.yaml")
        place = mapping.location("entities", "orders", "columns", "total", "expr")
        assert str(place) == "m.yaml:17:21"
        assert WHOLE.splitlines()[16][20:].startswith('"cents')

    def test_a_place_that_is_not_there_is_the_nearest_one_around_it(self) -> None:
        mapping = parse_mapping(WHOLE, file="m.yaml")
        assert mapping.location("batch", "bytes") == mapping.location("batch")
        assert mapping.location("nothing").line == 1


class TestSchema:
    def test_the_file_is_fresh(self) -> None:
        file = ROOT / "include/mappings/mapping.schema.json"
        assert file.read_text() == render(), "run python -m sinew.spec.jsonschema > that file"

    def test_it_accepts_what_the_reader_accepts_and_refuses_typing_errors(self) -> None:
        schema = mapping_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        judge = jsonschema.Draft202012Validator(schema)
        assert list(judge.iter_errors(load_document(WHOLE, "m").data)) == []
        for old, new in [
            ("key: uuid", "key: uid"),
            ("do: [trim", "do: [trm"),
            ("max_rejects: 0.01", "max_rejects: 1.5"),
            ("  orders:", "  Orders:"),
            ("{name: rest}", "{nam: rest}"),
        ]:
            assert old in WHOLE
            assert list(judge.iter_errors(load_document(WHOLE.replace(old, new), "m").data)), new

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_it_accepts_every_transforms_example(self, name: str) -> None:
        data = load_document(f"[{TRANSFORMS[name].example}]", "m").data
        step = mapping_schema()["$defs"]["Step"]
        assert list(jsonschema.Draft202012Validator(step).iter_errors(data[0])) == []

    def test_every_key_has_a_description_and_an_example(self) -> None:
        for owner, name, field in fields():
            assert field.description, f"{owner}.{name}"
            assert field.examples, f"{owner}.{name}"


def fields() -> list[tuple[str, str, object]]:
    """Every key of a mapping file: (model, key, field)."""
    from sinew.spec import parts

    models = [parts.Source, parts.Target, parts.Cohort, parts.Phase, parts.BatchSize]
    models += [parts.Relation, parts.Entity, parts.Query, parts.RejectedAmounts]
    models += [parts.BusinessCheck, Migration, *COLUMN_CLASSES.values()]
    return [
        (model.__name__, field.alias or name, field)
        for model in models
        for name, field in model.model_fields.items()
    ]


class TestDocs:
    TEXT = (ROOT / "docs/mapping.md").read_text()

    def test_every_key_is_documented(self) -> None:
        rows = set(re.findall(r"^\| `(\w+)`", self.TEXT, re.M))
        assert {name for _, name, _ in fields()} - rows == set()

    def test_every_transform_is_documented_with_its_example(self) -> None:
        missing = [
            name
            for name, transform in TRANSFORMS.items()
            if f"| `{name}` |" not in self.TEXT or f"`{transform.example}`" not in self.TEXT
        ]
        assert missing == []

    def test_every_mapping_in_it_is_right(self) -> None:
        blocks = re.findall(r"```yaml\n(migration:.*?)```", self.TEXT, re.S)
        assert blocks
        for block in blocks:
            parse_mapping(block)


def test_the_reader_imports_nothing_heavy() -> None:
    code = "import sys, sinew.spec; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(run.stdout.split())
    assert loaded.isdisjoint({"pandas", "soda_core", "psycopg", "sqlglot", "airflow"})


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(0, 2)
    | st.sampled_from(["", "a", "id"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "from", "key", "do", "x", "ref"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


class TestAnything:
    @settings(max_examples=150, deadline=None)
    @given(st.data(), _VALUES)
    def test_a_mapping_with_any_part_replaced_is_read_or_refused_with_places(
        self, data: st.DataObject, value: object
    ) -> None:
        document = load_document(WHOLE, "m")
        # The empty path is the whole document; only its parts are replaced.
        parts = sorted(filter(None, document.positions.values), key=str)
        path = data.draw(st.sampled_from(parts))
        part = document.data
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = value
        try:
            parse_mapping(json.dumps(document.data), file="m")
        except SpecError as error:
            assert error.problems
            assert all(p.location and p.location.file == "m" and p.message for p in error.problems)

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet="{}[]:,-&*!|>#'\"\n\t ab1", max_size=30))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with pytest.raises(SpecError):
            parse_mapping(text)
