"""The gate passes a batch only if every check that was compiled gave a result, and a good one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sinew.compile.contract import CompiledContract, Reference, StagingFacts, compile_contract
from sinew.compile.facts import ColumnFact, PgType
from sinew.engine.gate import CheckOutcome, GateResult, evaluate, evaluate_empty, masked_samples
from sinew.engine.session import Endpoint
from sinew.errors import ConfigurationError, UnavailableError

INT4 = PgType("integer", "int4", category="N")
TEXT = PgType("text", "text", category="S")
STAMP = PgType("timestamp with time zone", "timestamptz", category="D")
STAGING = StagingFacts(
    database="home",
    schema="sinew_stage",
    table="staging_1",
    columns=(
        ColumnFact("id", INT4, nullable=False),
        ColumnFact("email", TEXT),
        ColumnFact("amount", INT4),
        ColumnFact("at", STAMP),
    ),
    key=("id",),
    rows_expected=4,
)
ROWS = """
CREATE SCHEMA sinew_stage;
CREATE UNLOGGED TABLE sinew_stage.staging_1
    (id int, email text, amount int, at timestamptz, sinew_k1 int, sinew_row tid);
INSERT INTO sinew_stage.staging_1 VALUES
    (1, 'ann@example.org', 10, now(), 1), (2, 'bob@example.org', 20, now(), 2),
    (3, 'eve@example.org', 30, now(), 3), (4, NULL, NULL, now() - interval '9 days', 4);
CREATE SCHEMA shop;
CREATE TABLE shop.parents (id int PRIMARY KEY);
INSERT INTO shop.parents VALUES (1), (2), (3), (4);
"""


@pytest.fixture
def endpoint(home_db: str) -> Endpoint:
    """A home database with one staging table of four rows."""
    run(home_db, ROWS)
    return Endpoint("commerce", home_db)


def run(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute(statement.encode())


def compiled(text: str = "", facts: StagingFacts = STAGING) -> CompiledContract:
    return compile_contract(yaml.safe_load(text), facts)


def on_column(check: str, column: str = "amount") -> str:
    return f"columns: [{{name: {column}, checks: [{{{check}}}]}}]"


def on_table(check: str) -> str:
    return f"checks: [{{{check}}}]"


def bad(result: GateResult) -> list[str]:
    return [f"{check.outcome} {check.name}" for check in result.checks if not check.good]


def test_a_batch_that_is_what_was_staged_passes_the_baseline(endpoint: Endpoint) -> None:
    result = evaluate(endpoint, compiled())
    assert result.passed and len(result.checks) == result.expected_checks == 4
    assert {check.outcome for check in result.checks} == {"PASSED"}
    assert result.summary() == "gate passed: 4 of 4 checks hold"


def test_a_lost_row_fails_the_count(endpoint: Endpoint) -> None:
    run(endpoint.conninfo, "DELETE FROM sinew_stage.staging_1 WHERE id = 4")
    result = evaluate(endpoint, compiled())
    assert bad(result) == ["FAILED rows are as many as were staged"]
    assert "3, must be 4" in result.summary()


def test_a_repeated_and_a_missing_key_fail(endpoint: Endpoint) -> None:
    run(endpoint.conninfo, "UPDATE sinew_stage.staging_1 SET id = CASE id WHEN 1 THEN 2 END")
    assert bad(evaluate(endpoint, compiled())) == ["FAILED id is not null"]
    run(endpoint.conninfo, "UPDATE sinew_stage.staging_1 SET id = 2")
    result = evaluate(endpoint, compiled())
    assert bad(result) == ["FAILED id is unique"]
    assert result.checks[2].value == 3


def test_a_repeated_key_of_two_columns_fails(endpoint: Endpoint) -> None:
    facts = replace(STAGING, key=("id", "email"))
    email = "UPDATE sinew_stage.staging_1 SET email = 'x', id = least(id, 3)"
    run(endpoint.conninfo, email)
    result = evaluate(endpoint, compiled("", facts))
    assert bad(result) == ["FAILED id, email is unique"]
    assert [check.failed_rows for check in result.checks if "unique" in check.name] == [1]


def test_a_parent_that_is_not_there_fails(endpoint: Endpoint) -> None:
    facts = replace(STAGING, references=(Reference(("id",), "shop", "parents", ("id",)),))
    assert evaluate(endpoint, compiled("", facts)).passed
    run(endpoint.conninfo, "DELETE FROM shop.parents WHERE id = 2")
    result = evaluate(endpoint, compiled("", facts))
    assert bad(result) == ["FAILED id is in shop.parents"]
    assert result.checks[3].failed_rows == 1


def test_a_column_of_another_type_and_one_that_is_gone_fail_the_schema(endpoint: Endpoint) -> None:
    run(endpoint.conninfo, "ALTER TABLE sinew_stage.staging_1 ALTER amount TYPE bigint, DROP at")
    result = evaluate(endpoint, compiled())
    assert bad(result) == ["FAILED columns and types are the target's"]
    assert result.checks[0].detail == "missing: at; other type: amount is bigint instead of integer"


# Each check: one that the four rows hold, and one that they break.
CHECKS = {
    "missing": (on_column("missing: {filter: id < 4}"), on_column("missing: ")),
    "missing values": (
        on_column("missing: {missing_values: [n/a], filter: id < 4}", "email"),
        on_column("missing: {missing_values: [bob@example.org], filter: id < 4}", "email"),
    ),
    "invalid values": (
        on_column("invalid: {valid_values: [10, 20, 30]}"),
        on_column("invalid: {valid_values: [10, 20]}"),
    ),
    "invalid format": (
        on_column("invalid: {valid_format: {name: address, regex: '^[^@]+@.+$'}}", "email"),
        on_column("invalid: {invalid_format: {name: bob, regex: '^bob'}}", "email"),
    ),
    "invalid range": (
        on_column("invalid: {valid_min: 10, valid_max: 30}"),
        on_column("invalid: {valid_max: 29}"),
    ),
    "invalid length": (
        on_column("invalid: {valid_length: 15}", "email"),
        on_column("invalid: {valid_max_length: 14}", "email"),
    ),
    "reference": (
        on_column("invalid: {valid_reference_data: {dataset: shop/parents, column: id}}", "id"),
        on_column("invalid: {valid_reference_data: {dataset: shop/parents, column: id}}"),
    ),
    "duplicate": (on_column("duplicate: "), on_column("duplicate: {threshold: {must_be: 1}}")),
    "duplicates": (
        on_table("duplicate: {columns: [id, amount]}"),
        on_table("duplicate: {columns: [id, amount], threshold: {must_not_be: 0}}"),
    ),
    "aggregate": (
        on_column("aggregate: {function: avg, threshold: {must_be: 20}}"),
        on_column("aggregate: {function: max, threshold: {must_be_less_than: 30}}"),
    ),
    "failed rows": (
        on_table("failed_rows: {expression: amount > 30}"),
        on_table("failed_rows: {expression: amount > 29}"),
    ),
    "failed rows query": (
        on_table("failed_rows: {query: 'SELECT 1 FROM ${var.STAGING} WHERE amount > 30'}"),
        on_table("failed_rows: {query: 'SELECT 1 FROM ${var.STAGING} WHERE amount > 29'}"),
    ),
    "metric": (
        on_table("metric: {expression: sum(amount), threshold: {must_be: 60}}"),
        on_table("metric: {expression: sum(amount), threshold: {must_be_greater_than: 60}}"),
    ),
    "metric query": (
        on_table("metric: {query: 'SELECT max(id) FROM ${var.STAGING}', threshold: {must_be: 4}}"),
        on_table("metric: {query: SELECT 5, threshold: {must_be_less_than: 5}}"),
    ),
    "row count": (on_table("row_count: "), on_table("row_count: {threshold: {must_be: 5}}")),
    "schema": (
        on_table("schema: {allow_extra_columns: true, allow_other_column_order: true}"),
        on_table("schema: "),
    ),
    "freshness": (
        on_table("freshness: {column: at, threshold: {unit: day, must_be_less_than: 1}}"),
        on_table("freshness: {column: at, threshold: {unit: day, must_be_greater_than: 1}}"),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_type_of_check_passes_and_fails(endpoint: Endpoint, name: str) -> None:
    good, broken = CHECKS[name]
    passed = evaluate(endpoint, compiled(good))
    assert passed.passed, passed.summary()
    assert passed.expected_checks == 5
    failed = evaluate(endpoint, compiled(broken))
    assert not failed.passed
    assert [check.outcome for check in failed.checks if not check.good] == ["FAILED"]


def test_a_declared_warning_lets_the_batch_pass_and_is_told(endpoint: Endpoint) -> None:
    text = on_column("missing: {threshold: {must_be: 0, level: warn}}")
    result = evaluate(endpoint, compiled(text))
    assert result.passed
    assert "WARN amount: missing: 1, must be 0" in result.summary()


def test_of_two_thresholds_the_softer_one_warns(endpoint: Endpoint) -> None:
    text = (
        "missing: {{threshold: {{must_be_less_than: {}, additional: {{must_be: 0, level: warn}}}}}}"
    )
    assert evaluate(endpoint, compiled(on_column(text.format(2)))).passed
    assert not evaluate(endpoint, compiled(on_column(text.format(1)))).passed


@pytest.mark.parametrize("level", ["fail", "warn"])
def test_a_check_that_could_not_be_evaluated_fails(endpoint: Endpoint, level: str) -> None:
    threshold = f"threshold: {{must_be: 1, level: {level}}}"
    none = f"aggregate: {{function: avg, filter: id > 9, {threshold}}}"
    result = evaluate(endpoint, compiled(on_column(none)))
    assert bad(result) == ["NOT_EVALUATED amount: aggregate"]


def test_a_contract_without_checks_fails(endpoint: Endpoint) -> None:
    assert not evaluate(endpoint, replace(compiled(), checks=())).passed


def test_a_result_that_is_missing_fails() -> None:
    check = CheckOutcome("a", "metric", None, "PASSED", "fail", 0.0, "must_be 0", 0, "")
    assert GateResult((check,), 1, "", 0.0).passed
    assert not GateResult((check,), 2, "", 0.0).passed
    assert not GateResult((), 0, "", 0.0).passed
    assert not GateResult((), 0, "", 0.0).with_check(replace(check, outcome="MISSING")).passed
    assert GateResult((), 0, "", 0.0).with_check(check).passed


def test_sql_of_a_contract_that_fails_is_told_without_its_values(endpoint: Endpoint) -> None:
    text = on_table('failed_rows: {query: "SELECT 1 FROM ${var.STAGING} WHERE email::int = 1"}')
    result = evaluate(endpoint, compiled(text))
    assert bad(result) == ["NOT_EVALUATED table: failed_rows"]
    assert "InvalidTextRepresentation (22P02)" in result.summary()
    assert "example.org" not in result.summary()


def test_a_table_that_a_contract_names_and_that_is_not_there_fails(endpoint: Endpoint) -> None:
    result = evaluate(endpoint, compiled(on_table("failed_rows: {query: 'SELECT 1 FROM shop.no'}")))
    assert not result.passed
    assert 'UndefinedTable (42P01), relation "shop.no" does not exist' in result.summary()


@contextmanager
def quiet() -> Iterator[None]:
    """A process that logs nothing."""
    logger = logging.getLogger("soda")
    logging.disable(logging.CRITICAL)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(level)


def test_a_dead_server_is_unavailable_even_where_nothing_is_logged() -> None:
    dead = Endpoint("commerce", "host=127.0.0.1 port=1 user=nobody dbname=home")
    with quiet(), pytest.raises(UnavailableError, match="connection commerce"):
        evaluate(dead, compiled())


def test_a_server_that_ends_the_session_in_the_middle_is_unavailable(endpoint: Endpoint) -> None:
    end = on_table(
        "metric: {query: 'SELECT pg_terminate_backend(pg_backend_pid())::int', "
        "threshold: {must_be: 1}}"
    )
    with quiet(), pytest.raises(UnavailableError):
        evaluate(endpoint, compiled(end))


def test_where_nothing_is_logged_a_bad_batch_still_fails(endpoint: Endpoint) -> None:
    with quiet():
        wrong = evaluate(endpoint, compiled(on_column("missing: ")))
        unread = evaluate(endpoint, compiled(on_table("failed_rows: {query: SELECT FROM}")))
        unknown = evaluate(endpoint, mangled("missing", "mising"))
    assert not wrong.passed and not unread.passed and not unknown.passed
    assert "MISSING" in unknown.summary()


def mangled(word: str, other: str) -> CompiledContract:
    """A contract that Soda cannot read, as one made for another version of it."""
    contract = compiled(on_column("missing: "))
    checks = [replace(c, kind=other) if c.kind == word else c for c in contract.checks]
    return replace(contract, checks=tuple(checks))


def test_a_contract_that_soda_refuses_is_the_configurations_fault(endpoint: Endpoint) -> None:
    with pytest.raises(ConfigurationError, match="Invalid check type 'mis"):
        evaluate(endpoint, mangled("missing", "mis"))


def test_a_missing_privilege_is_the_configurations_fault(endpoint: Endpoint) -> None:
    run(
        endpoint.conninfo,
        "CREATE ROLE gate_reader LOGIN PASSWORD 'reader'; DO $$ BEGIN EXECUTE format("
        "'GRANT CONNECT ON DATABASE %I TO gate_reader', current_database()); END $$",
    )
    reader = make_conninfo(endpoint.conninfo, user="gate_reader", password="reader")
    try:
        with pytest.raises(ConfigurationError, match="GRANT"):
            evaluate(Endpoint("commerce", reader), compiled())
    finally:
        run(endpoint.conninfo, "DROP OWNED BY gate_reader; DROP ROLE gate_reader")


def test_an_empty_batch_is_judged_by_our_own_count() -> None:
    assert evaluate_empty(None).passed
    assert evaluate_empty({"checks": [{"row_count": None}]}).expected_checks == 1
    assert not evaluate_empty(None, rows=1).passed


HOSTILE = ("Ti\"ck's; --", "ÜBER", "e" * 63, "a/b {} %s", "select")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_judged_like_others(endpoint: Endpoint, name: str) -> None:
    second = name[:60] + "$2"
    with psycopg.connect(endpoint.conninfo) as conn:
        for old, new in (("id", name), ("email", second)):
            rename = sql.SQL("ALTER TABLE sinew_stage.staging_1 RENAME {} TO {}")
            conn.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
    columns = (ColumnFact(name, INT4, nullable=False), ColumnFact(second, TEXT))
    facts = replace(STAGING, columns=columns, key=(name,))
    user: dict[str, Any] = {
        "columns": [
            {"name": name, "checks": [{"missing": None}, {"duplicate": None}]},
            {"name": second, "checks": [{"invalid": {"valid_values": ["it's", 'a "', "%s"]}}]},
        ]
    }
    result = evaluate(endpoint, compile_contract(user, facts))
    assert bad(result) == [f"FAILED {second}: invalid"]
    assert result.checks[-1].value == 3


def test_samples_show_keys_and_mask_what_is_personal(endpoint: Endpoint) -> None:
    run(endpoint.conninfo, "UPDATE sinew_stage.staging_1 SET email = repeat('x', 99) WHERE id = 3")
    contract = compiled(
        "columns: [{name: email, checks: [{missing: }, {invalid: {invalid_format: {name: b, regex: "
        "'^(bob|x)'}}}]}]"
    )
    result = evaluate(endpoint, contract)
    with psycopg.connect(endpoint.conninfo) as conn:
        masked = masked_samples(conn, contract, result, ["email"])
        shown = masked_samples(conn, contract, result)
    assert masked == [
        {"check": "email: missing", "column": "email", "rows": [{"id": "4", "email": None}]},
        {
            "check": "email: invalid",
            "column": "email",
            "rows": [{"id": "2", "email": "***"}, {"id": "3", "email": "***"}],
        },
    ]
    assert shown[1]["rows"][1] == {"id": "3", "email": "x" * 40}


def test_samples_are_few_and_find_duplicates_and_orphans(endpoint: Endpoint) -> None:
    run(endpoint.conninfo, "UPDATE sinew_stage.staging_1 SET id = 9")
    facts = replace(STAGING, references=(Reference(("id",), "shop", "parents", ("id",)),))
    contract = compiled("", facts)
    result = evaluate(endpoint, contract)
    with psycopg.connect(endpoint.conninfo) as conn:
        samples = masked_samples(conn, contract, result, limit=2)
    assert [(s["check"], s["rows"]) for s in samples] == [
        ("id is unique", [{"id": "9"}] * 2),
        ("id is in shop.parents", [{"id": "9"}] * 2),
    ]


def test_a_sample_that_cannot_be_read_leaves_the_transaction_usable(endpoint: Endpoint) -> None:
    contract = compiled(on_table("failed_rows: {expression: email LIKE '%bob%'}"))
    result = evaluate(endpoint, contract)
    assert contract.checks[-1].touches == ("email",)
    broken = sql.SQL("email::int = 1")
    checks = tuple(replace(c, failing=broken) if c.failing else c for c in contract.checks)
    with psycopg.connect(endpoint.conninfo) as conn:
        (sample,) = masked_samples(conn, replace(contract, checks=checks), result)
        assert sample["rows"] == []
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_soda_writes_nothing_into_the_log_and_leaves_no_handler(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger().handlers)
    with caplog.at_level(logging.DEBUG):
        evaluate(endpoint, compiled(on_table("failed_rows: {query: SELECT email::int FROM x}")))
    assert [r for r in caplog.records if r.name.startswith("soda")] == []
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger("soda").propagate
