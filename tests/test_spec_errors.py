"""What is said about mapping files that are wrong: where, what, and what to do."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from sinew.errors import SpecError
from sinew.spec import parse_mapping, read_all, read_mapping
from tests.fix_mapping import HEAD, WHOLE, entity, included, problems

ROOT = Path(__file__).parents[1]


def only(text: str) -> str:
    """The one thing that is said about a mapping."""
    (problem,) = problems(text)
    return problem


def column(text: str) -> str:
    """The one thing that is said about a column of an otherwise good mapping."""
    return only(entity(f"id: {{key: copy}}\nc: {text}"))


def test_a_step_whose_name_is_no_text_is_told() -> None:
    assert "the transform 'name' is not known" in column("{from: F, do: [{name: []}]}")


class TestYaml:
    def test_a_file_that_is_no_yaml_says_where(self) -> None:
        assert only("migration: [a\nsource: b").startswith("2:7: the YAML cannot be read")

    def test_a_key_that_stands_twice_is_told_with_its_first_place(self) -> None:
        assert "'migration' is here twice, first on line 1" in only(entity() + "migration: b\n")

    @pytest.mark.parametrize("text", ["", "# nothing\n"])
    def test_an_empty_file_is_told(self, text: str) -> None:
        assert "the file is empty" in only(text)

    @pytest.mark.parametrize("text", ["- a\n", "word\n", "12\n"])
    def test_a_file_that_is_no_map_is_told(self, text: str) -> None:
        assert "a mapping file is a map" in only(text)

    def test_two_documents_are_told(self) -> None:
        assert "the YAML cannot be read" in only(entity() + "---\na: b\n")

    def test_a_tag_never_makes_an_object(self) -> None:
        text = entity().replace("conn: legacy", "conn: !!python/object/apply:os.getcwd []")
        assert any("the tag" in problem and "2:16" in problem for problem in problems(text))

    def test_an_alias_stands_for_its_anchor(self) -> None:
        text = entity("id: {key: copy}\na: &x {from: A, do: [trim]}\nb: *x")
        columns = parse_mapping(text).entities["things"].columns
        assert (columns["b"].do, columns["b"].name) == (columns["a"].do, "b")

    def test_an_alias_of_itself_is_told(self) -> None:
        assert any("alias" in problem for problem in problems(entity() + "batch: &x {rows: *x}\n"))

    def test_aliases_that_grow_without_end_are_told(self) -> None:
        bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for i in range(1, 9):
            bomb += f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n"
        assert any("alias" in problem for problem in problems(entity() + bomb))

    def test_a_merge_key_is_told(self) -> None:
        text = entity("id: {key: copy}\na: {<<: {from: A}}")
        assert any("merge key" in problem for problem in problems(text))

    def test_a_file_in_another_encoding_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "m.yaml").write_bytes("migration: größe".encode("latin-1"))
        with pytest.raises(SpecError, match="no UTF-8 text"):
            read_mapping(tmp_path / "m.yaml")

    def test_a_file_with_a_control_character_is_told(self) -> None:
        assert any("YAML" in problem for problem in problems("migration: a\x00b"))

    def test_a_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"none\.yaml:1:1: the file cannot be read"):
            read_mapping(tmp_path / "none.yaml")


class TestValues:
    def test_an_unknown_key_is_told_at_the_key_with_the_nearest_one(self) -> None:
        problem = only(entity() + "strateg: trickle\n")
        assert problem.startswith("10:1: the key 'strateg' is not known; allowed: migration, ")
        assert "did you mean 'strategy'?" in problem

    def test_a_missing_key_is_told_with_an_example(self) -> None:
        problem = only(entity().replace("source: {conn: legacy}", "source: {schema: a}"))
        assert problem.startswith("2:1: the key 'conn' is missing")
        assert "`conn: legacy_retail`" in problem

    def test_a_value_out_of_a_list_is_told_with_the_list(self) -> None:
        problem = only(entity() + "strategy: trickel\n")
        assert problem.startswith("10:11: the value 'trickel' is not known; allowed: trickle, ")
        assert "did you mean 'trickle'?" in problem

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("parallelism", "two", "allowed: a whole number"),
            ("parallelism", "0", "greater than or equal to 1"),
            ("parallelism", "true", "allowed: a whole number"),
            ("max_rejects", "1.5", "is no limit"),
            ("max_rejects", "-1", "is no limit"),
            ("max_rejects", "true", "is no limit"),
            ("batch", "{rows: 1_000}", "allowed: a whole number"),
            ("batch", "7", "allowed: a map"),
            ("phases", "[]", "too short"),
            ("phases", "{name: a}", "allowed: a list"),
            ("phases", "[{name: A}]", "'A' is no name"),
            ("description", "12", "put it in quotes"),
            ("reconcile", "[{name: x}]", "the key 'source' is missing"),
        ],
    )
    def test_a_wrong_value_is_told(self, key: str, value: str, message: str) -> None:
        told = problems(entity() + f"{key}: {value}\n")
        assert any(message in problem for problem in told), told
        assert all(problem.startswith("10:") for problem in told)

    def test_a_name_that_makes_no_table_is_told(self) -> None:
        assert only(entity().replace("  things:", "  Things:")).startswith("5:3: 'Things' is no na")
        assert "'a-b' is no name" in only(entity().replace("migration: shop", "migration: a-b"))
        assert "is no name" in only(entity().replace("  things:", f"  {'a' * 29}:"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("EMAIL", "write {from: EMAIL}"),
            ("{}", "nothing fills this column"),
            ("{do: [trim]}", "nothing fills this column, seen 'do'"),
            ("{from: A, expr: b}", "seen from and expr"),
            ("{key: uuid, python: 'a:b', from: A}", "seen key and from and python"),
            ("{key: uid}", "allowed: copy, uuid, identity; did you mean 'uuid'?"),
            ("{key: uuid, from: A}", "only `key: copy` takes from and do"),
            ("{key: uuid, on_error: null}", "never NULL"),
            ("{key: copy, from: A, namespace: x}", "`namespace` has no meaning with `key: copy`"),
            ("{from: A, on_error: drop}", "allowed: reject, null, fail"),
            ("{from: A, on_error: }", "the value '' is not known; allowed: reject, null, fail"),
            ("{from: 5}", "put it in quotes"),
            ("{from: A, from_: B}", "did you mean 'from'?"),
            ("{from: A, pii: maybe}", "allowed: true or false"),
            ("{from: A, default: [1]}", "a list of 1 is of the wrong type; allowed: a text, "),
            ("{python: f, from: A}", "names no function; allowed: module:function"),
            ("{ref: things, by: A, on_error: null, do: [trim]}", "takes no `do`"),
        ],
    )
    def test_a_wrong_column_is_told(self, text: str, message: str) -> None:
        assert message in column(text)

    @pytest.mark.parametrize(
        ("step", "message"),
        [
            ("trm", "did you mean 'trim'?"),
            ("{trim: 1}", "'trim' takes no argument"),
            ("check", "'check' needs an argument: write {check: "),
            ("{trim: 1, lower: 1}", "a step is a transform's bare name"),
            ("{round: x}", "allowed: a whole number"),
            ("{split: {on: a, prt: 1}}", "did you mean 'part'?"),
            ("{split: {on: a, part: 0}}", "0 names no part"),
            ("{parse_date: YYYYQMM}", "tokens allowed: YYYY"),
            ("{parse_date: 'YYYY-MM'}", "made of year, month and day"),
            ("{to_bool: {true: Y}}", "the key 'false' is missing"),
            ("{hash: md5}", "allowed: sha256"),
            ("{mask: some}", "is not of the form needed"),
            ("{map: {}}", "too short"),
            ("{map: {a: [b]}}", "allowed: a text"),
            ("{scale: {divide: 0}}", "greater than 0"),
            ("{concat: [{col: A}]}", "'col' is not known; allowed: column"),
            ("{cast: 'int; drop table x'}", "is not of the form needed"),
        ],
    )
    def test_a_wrong_step_is_told(self, step: str, message: str) -> None:
        text = entity(f"id: {{key: copy}}\nc: {{from: A, do: [{step}]}}")
        assert any(message in problem for problem in problems(text)), problems(text)

    def test_a_wrong_argument_is_told_at_its_own_place(self) -> None:
        text = entity("id: {key: copy}\nc: {from: A, do: [trim, {split: {on: a, part: x}}]}")
        assert only(text).startswith("10:53: 'x' is of the wrong type")

    def test_everything_is_told_at_once_in_the_files_order(self) -> None:
        text = entity("id: {key: cpy}\nb: {ref: thing, by: A}\nc: {from: A, do: [trm]}")
        told = problems(text + "colour: red\nphases: [{name: a, where: x}]\n")
        assert [problem.split(":")[0] for problem in told] == ["9", "11", "12", "13", "13"]

    def test_sound_entities_are_checked_though_others_are_broken(self) -> None:
        text = HEAD + textwrap.dedent("""\
            cohort: {root: nobody}
            entities:
              bad: {from: A, key: K, columns: {k: {key: uid}}}
              child: {from: C, key: K, columns: {k: {key: uuid}, p: {ref: bad, by: [A, B]}}}
              lost: {from: C, key: K, columns: {k: {key: uuid}, p: {ref: nowhere, by: A}}}
            """)
        told = "\n".join(problems(text))
        assert "'uid' is not known" in told
        assert "'nowhere' is not known" in told
        assert "'nobody' is not known" in told
        # What is said of a broken parent's key cannot be known.
        assert "`by` has" not in told
        assert len(told.splitlines()) == 3


class TestParts:
    @pytest.mark.parametrize(
        ("text", "place", "message"),
        [
            ("phases: [{name: a, where: x}]", "10:27", "the last phase, 'a', has a `where`"),
            ("phases: [{name: a}, {name: b}]", "10:10", "has no `where`"),
            ("phases: [{name: a, where: x}, {name: a}]", "10:38", "two phases are named 'a'"),
            ("phases: [{name: a, where: x}, {name: b}]", "10:9", "no `cohort` says of which"),
            ("cohort: {root: thing}", "10:16", "did you mean 'things'?"),
            (
                "strategy: big_bang\nphases: [{name: a, where: x}, {name: b}]",
                "11:9",
                "a big_bang moves everything at once",
            ),
        ],
    )
    def test_a_wrong_phase_or_cohort_is_told(self, text: str, place: str, message: str) -> None:
        told = problems(entity() + text + "\n")
        assert any(p.startswith(f"{place}: ") and message in p for p in told), told

    def test_a_target_key_that_is_no_column_is_told(self) -> None:
        problem = only(entity(target_key="[id, idd]"))
        assert problem.startswith("8:22: target_key: the column 'idd' is not known; allowed: id;")

    def test_a_key_that_reaches_no_target_column_is_told(self) -> None:
        assert "nothing says which target columns hold it" in only(entity("c: {from: A}"))

    def test_a_copied_key_of_two_columns_must_say_which(self) -> None:
        assert "has 2 columns (A, B): say which column" in only(entity(key="[A, B]"))

    def test_a_key_column_listed_twice_is_told(self) -> None:
        assert "A is listed more than once" in only(entity("id: {key: uuid}", key="[A, A]"))

    def test_a_nullable_column_in_the_target_key_is_told(self) -> None:
        text = entity("a: {from: A, on_error: null}", target_key="[a]")
        assert "in the target key, which is never NULL" in only(text)

    @pytest.mark.parametrize(
        ("ref", "message"),
        [
            ("{ref: thing, by: A}", "did you mean 'things'?"),
            ("{ref: things, by: [A, B], on_error: null}", "`by` has 2 columns (A, B)"),
            ("{ref: things, by: A}", "refers to itself"),
            ("{ref: things, by: A, take: x, on_error: null}", "the target key column 'x' is not"),
        ],
    )
    def test_a_wrong_reference_is_told(self, ref: str, message: str) -> None:
        assert message in column(ref)

    def test_a_reference_to_rows_without_a_key_is_told(self) -> None:
        text = entity("id: {key: copy}\nn: {ref: notes, by: A}")
        assert "'notes' has no `key`" in only(
            text + "  notes: {from: N, columns: {note: {from: T}}}\n"
        )

    def test_a_reference_to_a_key_of_two_columns_must_say_which_it_takes(self) -> None:
        text = entity("id: {key: copy}\nn: {ref: pairs, by: [A, B]}")
        pairs = "{a: {key: copy, from: A}, b: {key: copy, from: B}}"
        told = only(text + f"  pairs: {{from: P, key: [A, B], columns: {pairs}}}\n")
        assert "allowed: a, b: say which one this column takes" in told

    def test_a_cycle_that_nothing_breaks_is_named(self) -> None:
        text = HEAD + textwrap.dedent("""\
            entities:
              a: {from: A, key: K, columns: {k: {key: uuid}, b: {ref: b, by: B}}}
              b: {from: B, key: K, columns: {k: {key: uuid}, c: {ref: c, by: C}}}
              c: {from: C, key: K, columns: {k: {key: uuid}, a: {ref: a, by: A}}}
            """)
        problem = only(text)
        assert problem.startswith("5:53: the references form a cycle that nothing breaks: ")
        assert "a -> b -> c -> a" in problem
        assert "a.b, b.c, c.a" in problem

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("through: customers", "through: customer", "did you mean 'customers'?"),
            ("through: customers", "through: notes", "all three must have the same number"),
            ("key: customer\n", "key: [customer, day]\n", "all three must have the same number"),
            ("{entity: lines, ", "{entity: line, ", "did you mean 'lines'?"),
            ("key: {customer: no}", "key: {custom: no}", "the check's key is customer"),
            ("value: {worth: cents}", "value: {customer: x}", "is a key column"),
            ("tolerance: 0.01", "tolerance: -1", "greater than or equal to 0"),
            ('{sql: "SELECT no AS', '{file: a.sql, sql: "SELECT no AS', "exactly one of sql and f"),
            (
                "    tolerance: 0.01\n",
                "  - {name: worth, key: a, source: {sql: s}, target: {sql: s}}\n",
                "two checks are named 'worth'",
            ),
        ],
    )
    def test_a_wrong_business_check_is_told(self, old: str, new: str, message: str) -> None:
        assert old in WHOLE
        told = problems(WHOLE.replace(old, new))
        assert any(message in problem for problem in told), told


class TestFiles:
    def test_files_are_found_below_the_include_folder(self, tmp_path: Path) -> None:
        mapping = read_mapping(included(tmp_path))
        assert mapping.entities["things"].columns["s"].source.startswith("def score")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("open.sql", "opne.sql", "No such file or directory; files there: open.sql"),
            ("open.sql", "../../secret.sql", "leads out of include/sql/"),
            ("open.sql", "/etc/hostname", "leads out of include/sql/"),
            ("scores:score", "scores:scor", "did you mean 'score'?"),
            ("scores:score", "score:score", "include/mappings/python/score.py cannot be read"),
            ("entities:", "contracts: none\nentities:", "there is no folder 'none'"),
            ("entities:", "contracts: sql/..\nentities:", "the contract sql/../thing.yaml: the"),
        ],
    )
    def test_a_file_that_is_not_as_needed_is_told_where_it_is_named(
        self, tmp_path: Path, old: str, new: str, message: str
    ) -> None:
        file = included(tmp_path)
        (tmp_path / "include/thing.yaml").write_text("checks: []")
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(SpecError) as raised:
            read_mapping(file)
        (problem,) = raised.value.problems
        assert message in problem.message
        assert problem.location is not None and problem.location.file == str(file)
        assert problem.location.line > 3

    def test_a_module_that_is_no_python_is_told(self, tmp_path: Path) -> None:
        file = included(tmp_path)
        (tmp_path / "include/mappings/python/scores.py").write_text("def score(:\n")
        with pytest.raises(SpecError, match="is no Python"):
            read_mapping(file)

    def test_an_empty_sql_file_is_told(self, tmp_path: Path) -> None:
        file = included(tmp_path)
        (tmp_path / "include/sql/open.sql").write_text("\n")
        with pytest.raises(SpecError, match="it is empty"):
            read_mapping(file)

    def test_all_problems_of_all_files_are_told_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(entity() + "a: 1\n")
        (tmp_path / "b.yaml").write_text(entity() + "b: 1\n")
        (tmp_path / "c.yaml").write_text(entity())
        with pytest.raises(SpecError) as raised:
            read_all(tmp_path)
        assert [Path(p.location.file).name for p in raised.value.problems if p.location] == [
            "a.yaml",
            "b.yaml",
        ]

    def test_two_files_with_one_name_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(entity())
        (tmp_path / "b.yaml").write_text(entity())
        with pytest.raises(SpecError, match=r"b\.yaml:1:12: .* already declared at .*a\.yaml:1:12"):
            read_all(tmp_path)

    def test_a_folder_is_read_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "b.yaml").write_text(entity())
        (tmp_path / "a.yaml").write_text(entity().replace("shop\n", "other\n", 1))
        (tmp_path / ".hidden.yaml").write_text("no")
        assert list(read_all(tmp_path)) == ["other", "shop"]

    def test_a_folder_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="there is no folder"):
            read_all(tmp_path / "none")

    def test_every_mapping_of_the_project_is_right(self) -> None:
        read_all(ROOT / "include/mappings/migrations")
