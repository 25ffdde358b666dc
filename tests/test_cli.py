"""The command line, as one types it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from sinew.cli import main
from sinew.cli.arguments import parser
from sinew.cli.reading import in_lines
from sinew.engine.session import Endpoint
from sinew.spec.jsonschema import render
from tests.fix_shop import COHORT, MAPPING, Shop

PROJECT = Path(__file__).resolve().parents[1]
COMMANDS = [
    *("lint", "schema", "explain", "audit", "reversibility"),
    *("run", "status", "diff", "report", "auth"),
]


def as_uri(endpoint: Endpoint) -> str:
    """The endpoint as the text of an Airflow connection."""
    parts = conninfo_to_dict(endpoint.conninfo)
    return "postgres://{user}:{password}@{host}:{port}/{dbname}".format(**parts)


@pytest.fixture
def file(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop's mapping where the command line looks for it, and its connections as variables."""
    include = tmp_path / "include"
    (include / "contracts" / "shop").mkdir(parents=True)
    folder = include / "mappings" / "migrations"
    folder.mkdir(parents=True)
    text = MAPPING.format(strategy="trickle", existing="fail", cohort=COHORT, rows=200, hash="auto")
    (folder / "shop.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("SINEW_INCLUDE", str(include))
    monkeypatch.setenv("AIRFLOW_CONN_OLD_SHOP", as_uri(shop.source))
    monkeypatch.setenv("AIRFLOW_CONN_NEW_SHOP", as_uri(shop.home))
    return folder / "shop.yaml"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; gives exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


Typed = Callable[..., tuple[int, str, str]]


def mend(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"Example:\n  sinew {command}" in capsys.readouterr().out


def test_every_command_is_in_the_documentation() -> None:
    text = (PROJECT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"## sinew {command}" not in text] == []
    for line in text.splitlines():
        if line.startswith("    sinew "):
            parser().parse_args(line.split("#")[0].split(">")[0].split()[1:])


def test_the_module_runs_as_a_program_without_airflow() -> None:
    code = (
        "import sys, sinew.cli; ended = sinew.cli.main(['schema']);"
        "print('airflow' in sys.modules, 'pandas' in sys.modules, file=sys.stderr); sys.exit(ended)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(PROJECT / "plugins"), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr.strip()) == (0, "False False")


# --- lint and schema


def test_a_sound_mapping_is_called_sound(file: Path, typed: Typed) -> None:
    assert typed("lint") == (0, "1 mapping is sound\n", "")
    assert typed("lint", str(file), str(file.parent)) == (0, "2 mappings are sound\n", "")


def test_every_problem_is_printed_with_its_place(file: Path, typed: Typed) -> None:
    mend(file, "do: [trim, squeeze, title]", "do: [trim, sqeeze, title]")
    mend(file, "from: ORD\n", "form: ORD\n")
    code, out, _ = typed("lint")
    assert code == 1
    assert f"{file}:" in out and "sqeeze" in out and "form" in out
    assert all(line.split(":")[1].isdigit() for line in out.splitlines())


def test_a_broken_expression_or_contract_is_found_by_lint(file: Path, typed: Typed) -> None:
    mend(file, '"CENTS"::numeric / 100\'}', '"CENTS"::numeric / \'}')
    contract = file.parents[2] / "contracts" / "shop" / "tags.yaml"
    contract.write_text("columns:\n  - name: colour\n", encoding="utf-8")
    code, out, _ = typed("lint")
    assert code == 1 and str(file) in out and str(contract) in out and "colour" in out


def test_the_schema_is_the_one_that_is_kept(typed: Typed) -> None:
    assert typed("schema") == (0, render(), "")


# --- explain and audit


def test_a_plan_is_told_without_a_database(
    file: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OLD_SHOP", "postgres://nobody@127.0.0.1:1/nothing")
    code, out, _ = typed("explain", "shop")
    assert code == 0 and out.startswith("# Migration shop") and "## tags" in out
    code, out, _ = typed("explain", str(file), "--entity", "tags")
    assert code == 0 and out.startswith("## tags") and "customers" not in out


def test_the_sql_of_every_step_is_shown_and_nothing_is_written(
    file: Path, shop: Shop, typed: Typed
) -> None:
    code, out, _ = typed("explain", "shop", "--sql")
    assert code == 0
    for name in ("customers", "orders", "lines", "log", "tags"):
        assert f"# SQL of {name}" in out
    for step in ("plan", "extract", "transform", "check", "load", "validate", "settle"):
        assert f"\n## {step}\n" in out
    assert "TO STDOUT (FORMAT BINARY)" in out and "ON CONFLICT" in out
    assert shop.new("SELECT to_regclass('sinew.batch')") == [(None,)]


def test_a_statement_in_lines_is_the_same_statement() -> None:
    text = (
        "SELECT 'a FROM b', \"x WHERE y\" FROM t WHERE a = 'it''s ( SET' AND b IN (SELECT 1 FROM u)"
    )
    assert in_lines(text).splitlines() == [
        "SELECT 'a FROM b', \"x WHERE y\"",
        "FROM t",
        "WHERE a = 'it''s ( SET' AND b IN (SELECT 1",
        "  FROM u)",
    ]


def test_an_audit_tells_what_would_move(file: Path, shop: Shop, typed: Typed) -> None:
    code, out, _ = typed("audit", "shop")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["customers", "pilot", "10", "1"] in lines
    assert ["lines", "rest", "3,000", "15"] in lines
    assert "key: ORD_ID, NO -> order_id, line_no" in out
    assert "filled in a second pass: referrer_id" in out
    assert "unique in the target: customer_id; email" in out
    assert shop.new("SELECT to_regclass('sinew.batch')") == [(None,)]


def test_what_the_target_could_give_back_is_told_of_every_source_column(
    file: Path, shop: Shop, typed: Typed
) -> None:
    shop.old('ALTER TABLE "ORD" ADD COLUMN "FAX" text')
    code, out, _ = typed("reversibility", "shop", "--json")
    assert code == 0
    found = {
        (relation["relation"], way["column"]): (way["grade"], way["carried_by"])
        for relation in json.loads(out)
        for way in relation["columns"]
    }
    assert found == {
        ("public.CUST", "NO"): ("lossless", "row ledger of customers"),
        ("public.CUST", "NAME"): ("lossy", "customers.name"),
        ("public.CUST", "EMAIL"): ("lossy", "customers.email"),
        ("public.CUST", "JOINED"): ("lossless", "customers.joined_on"),
        ("public.CUST", "REF_NO"): ("lossy", "row ledger of customers"),
        ("public.CUST", "KIND"): ("lossy", "customers.kind"),
        ("public.ORD", "ID"): ("lossless", "orders.order_id"),
        ("public.ORD", "CUST_NO"): ("lossless", "row ledger of customers"),
        ("public.ORD", "AT"): ("lossless", "orders.ordered_at"),
        ("public.ORD", "CENTS"): ("none", "orders.total"),
        ("public.ORD", "FAX"): ("none", None),
        ("public.LINE", "ORD_ID"): ("lossless", "row ledger of orders"),
        ("public.LINE", "NO"): ("lossless", "lines.line_no"),
        ("public.LINE", "QTY"): ("lossless", "lines.quantity"),
        ("public.LINE", "CENTS"): ("none", "lines.amount"),
        ("public.LINE", "NOTE"): ("lossless", "lines.note"),
        ("public.LOG", "WHO"): ("none", None),
        ("public.LOG", "WHAT"): ("none", None),
        ("public.TAG", "CODE"): ("lossless", "tags.code"),
        ("public.TAG", "TITLE"): ("lossless", "tags.title"),
    }
    code, out, _ = typed("reversibility", "shop")
    assert code == 0
    assert re.search(r"NAME +lossy +customers.name +white space at its ends is gone; runs", out)
    assert out.endswith("20 columns: 11 lossless, 4 lossy, 5 none.\n")

    shop.old('ALTER TABLE "TAG" RENAME TO "TAGS"; CREATE VIEW "TAG" AS TABLE "TAGS"')
    code, out, _ = typed("reversibility", "shop")
    assert re.search(r"CODE +none +- +what a view shows is not what is written", out)


def test_an_audit_prints_all_problems_and_fails(file: Path, shop: Shop, typed: Typed) -> None:
    shop.old('ALTER TABLE "CUST" RENAME "NAME" TO "FULL"')
    shop.new("ALTER TABLE shop.tags DROP COLUMN title")
    code, out, err = typed("audit", "shop")
    assert (code, err) == (1, "")
    assert "NAME" in out and "title" in out and f"{file}:" in out


# --- run, status, diff, report


def test_a_migration_is_run_told_compared_and_reported(
    file: Path, shop: Shop, typed: Typed, tmp_path: Path
) -> None:
    # As a program of its own, because its workers import its main module again.
    words = ["-m", "sinew", "run", "shop", "--phase", "pilot", "--parallelism", "2"]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "plugins")},
    )
    assert done.returncode == 0, done.stderr
    assert "pilot: lines: 2 batches" in done.stdout and "rest" not in done.stdout
    code, out, _ = typed("run", "shop", "--batch-rows", "500", "--parallelism", "1")
    assert code == 0 and "rest: lines: 6 batches" in out
    assert shop.new("SELECT count(*) FROM shop.lines") == [(2902,)]
    code, out, _ = typed("run", str(file))
    assert code == 0 and "nothing was moved" in out

    code, out, _ = typed("status", "shop")
    assert code == 0 and "complete" in out and "parse_date" in out and "equal" in out
    code, out, _ = typed("status", "shop", "--json")
    told = json.loads(out)
    assert [phase["state"] for phase in told["phases"]] == ["complete", "complete"]
    assert sum(r["rows"] for r in told["rejects"] if r["rule"] == "parse_date") == 2

    assert typed("diff", "shop") == (0, "No difference: pilot, rest of shop\n", "")
    page = tmp_path / "report.html"
    code, out, _ = typed("report", "shop", "--phase", "pilot", "--output", str(page))
    assert code == 0 and str(page) in out
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html")
    code, out, _ = typed("report", "shop")
    assert code == 0 and "</html>" in out


def test_a_difference_names_its_rows_and_changes_no_state(
    file: Path, shop: Shop, typed: Typed
) -> None:
    assert typed("run", "shop", "--parallelism", "1")[0] == 0
    shop.new("UPDATE shop.tags SET title = 'other' WHERE code = 't7'")
    shop.old('DELETE FROM "TAG" WHERE "CODE" = \'t3\'')
    before = shop.new("SELECT state, count(*) FROM sinew.batch GROUP BY 1")
    code, out, _ = typed("diff", "shop")
    assert code == 1
    assert "tags: source and row ledger differ in 1 rows\n  extra (t3)" in out
    assert "tags: row ledger and target differ in 1 rows\n  changed" in out
    assert shop.new("SELECT state, count(*) FROM sinew.batch GROUP BY 1") == before
    assert shop.new("SELECT DISTINCT state FROM sinew.phase") == [("complete",)]


def test_a_phase_that_needs_an_approval_begins_in_somebodys_name(
    file: Path, shop: Shop, typed: Typed
) -> None:
    mend(file, "{name: rest}", "{name: rest, approval: true}")
    code, _, err = typed("run", "shop")
    assert code == 2 and "--approved-by" in err
    assert typed("run", "shop", "--approved-by", "Ada", "--parallelism", "1")[0] == 0
    assert shop.new("SELECT phase, person FROM sinew.approval") == [("rest", "Ada")]


def test_the_status_of_what_was_never_planned_says_so(file: Path, typed: Typed) -> None:
    code, out, _ = typed("status", "shop")
    assert code == 0 and "never planned" in out
    assert typed("diff", "shop")[0] == 2
    assert typed("report", "shop")[0] == 2


# --- what goes wrong


def test_an_error_is_one_message_without_a_traceback_or_a_password(
    file: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OLD_SHOP", "postgres://nobody:hunter2@127.0.0.1:1/nothing")
    code, out, err = typed("run", "shop")
    assert (code, out) == (75, "")
    assert err.startswith("sinew: ") and "old_shop" in err and "Traceback" not in err
    assert "hunter2" not in err


def test_words_that_mean_nothing_are_told_with_what_there_is(file: Path, typed: Typed) -> None:
    for words, allowed in [
        (["status", "sop"], "shop"),
        (["run", "shop", "--phase", "pilto"], "pilot"),
        (["explain", "shop", "--entity", "custmers"], "customers"),
        (["run", "shop", "--phase", "rest"], "pilot"),
    ]:
        code, out, err = typed(*words)
        assert (code, out) == (2, "") and allowed in err


def test_data_that_must_be_mended_is_a_failure_of_its_own(
    file: Path, shop: Shop, typed: Typed
) -> None:
    mend(file, "max_rejects: 0.5", "max_rejects: 0")
    code, _, err = typed("run", "shop", "--parallelism", "1")
    assert code == 1 and "max_rejects" in err


def test_a_traceback_is_there_for_who_asks(file: Path) -> None:
    with pytest.raises(Exception, match="no phase"):
        main(["run", "shop", "--phase", "pilto", "--debug"])
