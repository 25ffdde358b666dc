"""Contracts are compiled with a baseline, and wrong ones are told where they are wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from sinew.compile.contract import (
    CompiledContract,
    Reference,
    StagingFacts,
    compile_contract,
    contract_fingerprint,
    validate_contract,
)
from sinew.compile.facts import ColumnFact, PgType
from sinew.errors import SpecError

INT4 = PgType("integer", "int4", category="N")
TEXT = PgType("text", "text", category="S")
MONEY = PgType("numeric(10,2)", "numeric", category="N", modifier=((10 << 16) | 2) + 4)
NAMES = ("id", "email", "amount")
STAGING = StagingFacts(
    database="shop",
    schema="sinew_stage",
    table="staging_7",
    columns=(
        ColumnFact("id", INT4, nullable=False),
        ColumnFact("email", TEXT),
        ColumnFact("amount", MONEY, nullable=False),
    ),
    key=("id",),
    rows_expected=3,
)


def read(text: str) -> Any:
    return yaml.safe_load(text)


def told(text: str) -> list[str]:
    return [str(problem) for problem in validate_contract(text, NAMES, "orders.yaml")]


def named(contract: CompiledContract) -> list[str]:
    return [check.name for check in contract.checks]


def test_the_baseline_judges_schema_count_key_and_what_the_target_wants_filled() -> None:
    assert named(compile_contract(None, STAGING)) == [
        "columns and types are the target's",
        "rows are as many as were staged",
        "id is unique",
        "id is not null",
        "amount is not null",
    ]


def test_a_table_of_plain_rows_has_no_key_to_judge() -> None:
    plain = replace(STAGING, key=(), rows_expected=None)
    assert named(compile_contract(None, plain)) == [
        "columns and types are the target's",
        "id is not null",
        "amount is not null",
    ]


def test_references_are_looked_up_in_the_parent() -> None:
    reference = Reference(("id",), "shop", "parents", ("parent_id",))
    contract = compile_contract(None, replace(STAGING, references=(reference,)))
    (check,) = [
        check
        for check in contract.checks
        if check.touches == ("id",) and check.column is None and check.kind == "failed_rows"
    ]
    assert check.body["query"] == (
        'SELECT 1 FROM "sinew_stage"."staging_7" WHERE "sinew_stage"."staging_7"."id" IS NOT NULL '
        'AND NOT EXISTS (SELECT FROM "shop"."parents" AS parent WHERE '
        'parent."parent_id" = "sinew_stage"."staging_7"."id")'
    )


def test_a_key_of_one_column_is_judged_by_sorting_its_values() -> None:
    (check,) = [c for c in compile_contract(None, STAGING).checks if c.kind == "metric"]
    assert check.body["query"] == (
        'SELECT count("id") - count(DISTINCT "id") FROM "sinew_stage"."staging_7"'
    )


def test_a_text_key_is_compared_by_its_bytes_where_equal_bytes_are_equal_texts() -> None:
    texts = (ColumnFact("id", TEXT), ColumnFact("email", TEXT, deterministic_collation=False))
    contract = compile_contract(None, replace(STAGING, columns=texts, key=("id", "email")))
    (check,) = [c for c in contract.checks if c.name == "id, email is unique"]
    assert 'PARTITION BY "id" COLLATE "C", "email")' in check.body["query"]


def test_the_documents_columns_are_the_tables_with_types_and_own_checks() -> None:
    user = read("columns: [{name: email, valid_min_length: 3, checks: [invalid: {name: long}]}]")
    columns = compile_contract(user, STAGING).document["columns"]
    assert [column["name"] for column in columns] == ["id", "email", "amount"]
    assert columns[1] == {
        "name": "email",
        "data_type": "text",
        "valid_min_length": 3,
        "checks": [{"invalid": {"name": "long"}}],
    }
    assert columns[2]["numeric_precision"] == 10 and columns[2]["numeric_scale"] == 2


def test_the_users_dataset_is_replaced_by_the_staging_table() -> None:
    user = read("{dataset: a/b/c/orders, columns: []}")
    assert compile_contract(user, STAGING).document["dataset"] == "home/sinew_stage/staging_7"


def test_arrays_and_domains_have_the_type_names_that_the_catalogs_query_gives() -> None:
    array = PgType("integer[]", "_int4", category="A", element=INT4)
    domain = PgType("shop.small", "small", kind="d", builtin=False, base=INT4)
    columns = (ColumnFact("a", array), ColumnFact("b", domain))
    found = compile_contract(None, replace(STAGING, columns=columns, key=())).document["columns"]
    assert [column["data_type"] for column in found] == ["ARRAY", "integer"]


def test_the_contract_is_yaml_whatever_its_characters() -> None:
    user = {"checks": [{"failed_rows": {"expression": "email = '\x7f\u2028😀\\{}%'"}}]}
    text = compile_contract(user, STAGING).text
    assert json.loads(text) == compile_contract(user, STAGING).document
    assert yaml.safe_load(text) == compile_contract(user, STAGING).document


def test_the_fingerprint_knows_the_content_not_the_order() -> None:
    one, other = {"columns": [], "checks": [{"row_count": None}]}, {"checks": [{"row_count": None}]}
    assert contract_fingerprint(one) == contract_fingerprint(dict(reversed(one.items())))
    assert contract_fingerprint(one) != contract_fingerprint(other)
    assert contract_fingerprint(None) == contract_fingerprint({})


def test_a_wrong_contract_is_not_compiled() -> None:
    with pytest.raises(SpecError, match="the column 'mail' is not known"):
        compile_contract(read("columns: [{name: mail}]"), STAGING)


def test_a_problem_has_its_line_and_column() -> None:
    (problem,) = told("dataset: a/b\ncolumns:\n  - name: mail\n    checks:\n      - missing:\n")
    assert problem.startswith("orders.yaml:3:11: the column 'mail' is not known")
    assert "did you mean 'email'?" in problem


WRONG = {
    "filter: id > 1": "a filter of the whole contract is not allowed",
    "soda_agent: {}": "the contract's key 'soda_agent' is not known",
    "columns: {name: id}": "`columns` is a map of 1",
    "columns: [{checks: [missing: ]}]": "a column is a map of 1",
    "columns: [{name: id}, {name: id}]": "the column 'id' is here twice",
    "columns: [{name: id, chekcs: []}]": "did you mean 'checks'?",
    "columns: [{name: id, checks: []}]": "`checks` is a list of 0",
    "columns: [{name: id, checks: [mising: ]}]": "did you mean 'missing'?",
    "columns: [{name: id, checks: [missing]}]": "a check is 'missing'; allowed: a map",
    "columns: [{name: id, checks: [missing: 3]}]": "the check `missing` is 3",
    "columns: [{name: id, checks: [{missing: , duplicate: }]}]": "a check is a map of 2",
    "columns: [{name: id, checks: [{missing: }, {missing: }]}]": "a second check `missing`",
    "columns: [{name: id, checks: [row_count: ]}]": "the type of check 'row_count' is not known",
    "columns: [{name: id, checks: [invalid: ]}]": "the check `invalid` is a map of 0",
    "columns: [{name: id, checks: [invalid: {valid_values: [yes]}]}]": "`valid_values` is a list",
    "columns: [{name: id, checks: [invalid: {valid_min: '1'}]}]": "`valid_min` is '1'",
    "columns: [{name: id, checks: [invalid: {valid_format: x}]}]": "`valid_format` is 'x'",
    "columns: [{name: id, checks: [invalid: {valid_reference_data: {dataset: x, column: y}}]}]": (
        "`valid_reference_data` is a map of 2"
    ),
    "columns: [{name: id, checks: [aggregate: {function: mode, threshold: {must_be: 1}}]}]": (
        "`function` is 'mode'"
    ),
    "columns: [{name: id, checks: [aggregate: {function: avg}]}]": "`threshold` is nothing",
    "checks: [missing: ]": "the type of check 'missing' is not known",
    "checks: [duplicate: {columns: [id, idd]}]": "the column 'idd' is not known",
    "checks: [duplicate: {columns: id}]": "`columns` of the check is 'id'",
    "checks: [freshness: {column: at, threshold: {must_be_less_than: 1}}]": "the column 'at'",
    "checks: [failed_rows: {name: x}]": "either `expression` or `query`",
    "checks: [failed_rows: {expression: idd > 1}]": "the column 'idd' is not known",
    "checks: [failed_rows: {expression: id >}]": "the expression cannot be read",
    "checks: [failed_rows: {query: 'SELECT ${var.STAGE}'}]": "did you mean 'var.STAGING'?",
    "checks: [failed_rows: {query: 'SELECT ${env.HOME}'}]": "the environment is never read",
    "checks: [metric: {expression: sum(id)}]": "`threshold` is nothing",
    "checks: [row_count: {threshold: {must_bee: 1}}]": "did you mean 'must_be'?",
    "checks: [row_count: {threshold: {must_be: 1, must_not_be: 2}}]": "the threshold is a map of 2",
    "checks: [row_count: {threshold: {must_be: one}}]": "`must_be` is 'one'",
    "checks: [row_count: {threshold: {must_be_between: {greater_than: 1}}}]": "a lower",
    "checks: [row_count: {threshold: {must_be: 1, level: warning}}]": "allowed: fail or warn",
    "checks: [row_count: {threshold: {must_be: 1, additional: {must_be: 2}}}]": "`additional` is",
    "checks: [row_count: {qualifier: sinew key}]": "does not begin with 'sinew'",
    "variables: {A: 1}": "the variable 'A' is 1",
    "- 1": "the contract is a list of 1",
    "columns: }": "the YAML cannot be read",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_soda_would_drop_or_misread_is_refused(text: str) -> None:
    assert WRONG[text] in " ".join(told(text))
    assert all(problem.startswith("orders.yaml:1:") for problem in told(text))


def test_all_problems_are_told_at_once() -> None:
    text = "columns: [{name: a, checks: [missin: ]}, {name: b}]\nchecks: [row_cout: ]"
    assert len(told(text)) == 4


RIGHT = """
dataset: source/database/schema/orders
description: words
variables: {LIMIT: {default: 5}}
columns:
  - name: id
    data_type: integer
    checks:
      - missing: {threshold: {metric: percent, must_be_less_than: 1, level: warn}}
      - duplicate:
      - aggregate: {function: avg, threshold: {must_be_between: {greater_than: 1, less_than: 9}}}
  - name: email
    missing_values: ['', n/a]
    valid_format: {name: an address, regex: '^[^@]+@[^@]+$'}
    checks:
      - missing: {filter: id > 1}
      - invalid:
      - invalid: {qualifier: 2, valid_reference_data: {dataset: shop/emails, column: email}}
checks:
  - row_count: {threshold: {must_be: 1, additional: {must_be: 2, level: warn}}}
  - failed_rows: {name: own, query: 'SELECT 1 FROM ${var.STAGING} LIMIT ${var.LIMIT}'}
  - metric: {expression: sum(amount), threshold: {must_be_greater_than: 0}}
  - duplicate: {columns: [id, email]}
  - schema: {allow_extra_columns: true}
"""


def test_a_whole_contract_is_right() -> None:
    assert told(RIGHT) == []
    contract = compile_contract(read(RIGHT), STAGING)
    assert len(contract.checks) == 5 + 11
    assert len({check.identity for check in contract.checks}) == 16
