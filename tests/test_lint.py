"""Lint: wrong SQL and contracts of a mapping are told with their place, without a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinew.compile.lint import check_query, expressions_of, lint, queries_of
from sinew.spec import parse_mapping, read_mapping
from sinew.spec.reader import read_contracts
from tests.fix_mapping import WHOLE, entity, included

ROOT = Path(__file__).parents[1]


def told(text: str) -> list[str]:
    """What lint says about a mapping, as `line:column: message`."""
    mapping = parse_mapping(text, file="m.yaml")
    return [str(problem).removeprefix("m.yaml:") for problem in lint(mapping)]


def test_a_right_mapping_has_no_problem() -> None:
    assert told(WHOLE) == []


def test_every_expression_of_a_mapping_is_looked_at() -> None:
    paths = [piece.path for piece in expressions_of(parse_mapping(WHOLE))]
    assert paths == [
        ("phases", 0, "where"),
        ("entities", "orders", "columns", "total", "expr"),
        ("reconcile", 0, "rejected", "key", "customer"),
        ("reconcile", 0, "rejected", "value", "worth"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("no % 20 = 0", "no % = ", "6:26"),
        ("cents / 100.0", "cents / (100.0", "17:21"),
        ("cents / 100.0", "1; drop table people", "17:21"),
        ("key: {customer: no}", "key: {customer: 'no no no'}", "48:47"),
        ("SELECT no AS", "SELEC no AS", "44:19"),
        ("SELECT customer_id AS", "DELETE FROM people; SELECT customer_id AS", "45:19"),
    ],
)
def test_wrong_sql_is_told_where_it_is_written(old: str, new: str, place: str) -> None:
    assert old in WHOLE
    (problem,) = told(WHOLE.replace(old, new))
    assert problem.startswith(f"{place}: "), problem


def test_a_wrong_condition_of_an_entity_is_told_and_a_block_scalar_has_a_place() -> None:
    text = entity("id: {key: copy}\nc:\n  expr: |\n    upper(\n      name", where='"a = "')
    assert [problem.split(": ")[0] for problem in told(text)] == ["8:12", "12:15"]


def test_a_pattern_that_names_no_one_moment_is_told() -> None:
    step = "{parse_timestamp: YYYY-MM-DD SS}"
    (problem,) = told(entity(f"id: {{key: copy}}\nc: {{from: A, do: [trim, {step}]}}"))
    assert problem.startswith("10:49: parse_timestamp: the pattern 'YYYY-MM-DD SS' does not name")


def test_all_problems_are_told_at_once() -> None:
    text = WHOLE.replace("no % 20 = 0", "no % = ").replace("cents / 100.0", "cents /")
    assert len(told(text)) == 2


def test_a_sql_file_that_writes_is_told(tmp_path: Path) -> None:
    file = included(tmp_path)
    (tmp_path / "include/sql/open.sql").write_text("DELETE FROM things")
    (problem,) = lint(read_mapping(file))
    assert "the query does more than read" in problem.message
    assert problem.location is not None and problem.location.line == 6


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "SELECT 1;",
        "-- a comment\nWITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT a.b::text, c ->> 'd' FROM e a LEFT JOIN f USING (g) WHERE h ~ '^i' ORDER BY 1",
    ],
)
def test_one_select_is_right(query: str) -> None:
    check_query(query)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1; SELECT 2", "has 2 statements"),
        ("-- nothing", "has 0 statements"),
        ("UPDATE a SET b = 1", "does more than read"),
        ("WITH a AS (DELETE FROM b RETURNING *) SELECT * FROM a", "does more than read"),
        ("SELECT 1 INTO a FROM b", "does more than read"),
        ("DROP TABLE a", "does more than read"),
        ("VACUUM a", "does more than read"),
        ("SELECT FROM WHERE (", "cannot be read"),
        ("SELECT 'a", "a quote or a comment is not closed"),
    ],
)
def test_what_is_not_one_select_is_told(query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_query(query)


def contracted(tmp_path: Path, contract: str) -> list[str]:
    """What lint says about a mapping of one entity with this contract."""
    file = included(tmp_path)
    file.write_text(file.read_text() + "contracts: contracts/shop\n")
    folder = tmp_path / "include/contracts/shop"
    folder.mkdir(parents=True)
    (folder / "things.yaml").write_text(contract)
    mapping = read_mapping(file)
    contracts, problems = read_contracts(mapping, tmp_path / "include")
    return [str(problem) for problem in [*problems, *lint(mapping, contracts)]]


def test_a_contract_for_the_entitys_columns_is_right(tmp_path: Path) -> None:
    text = "dataset: a/b/c/things\ncolumns:\n  - name: id\n    checks:\n      - missing:\n"
    assert contracted(tmp_path, text) == []


def test_a_contract_for_a_column_that_is_not_there_is_told_where_it_stands(tmp_path: Path) -> None:
    text = "dataset: a/b/c/things\ncolumns:\n  - name: idd\n    checks:\n      - missing:\n"
    (problem,) = contracted(tmp_path, text)
    assert "things.yaml:3:" in problem
    assert "idd" in problem


def test_a_contract_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    (problem,) = contracted(tmp_path, "columns: [")
    assert "things.yaml:" in problem
    assert "the YAML cannot be read" in problem


def test_every_query_of_a_mapping_is_looked_at(tmp_path: Path) -> None:
    paths = [piece.path for piece in queries_of(parse_mapping(WHOLE))]
    assert paths == [("reconcile", 0, "source", "sql"), ("reconcile", 0, "target", "sql")]
    (piece,) = queries_of(read_mapping(included(tmp_path)))
    assert piece.text == "SELECT 1 AS id"
