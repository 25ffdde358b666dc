"""Syncs from the command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from psycopg.conninfo import conninfo_to_dict

from demo.shop.api import ShopServer
from demo.shop.api.write_log import entries
from sinew.cli import main
from sinew.spec.jsonschema import mapping_schema, render
from sinew.spec.positions import load_document
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_deliver import DeliverCase
from tests.fix_sync import MAPPING, SyncCase, write_include

ROOT = Path(__file__).resolve().parents[1]
ALL = ("--from", "2026-01-01T00:00:00+00:00", "--to", "2026-07-01T00:00:00+00:00")


@dataclass
class Typed:
    """A command that was run."""

    code: int
    out: str
    err: str


Type = Callable[..., Typed]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Type:
    def run(*words: str) -> Typed:
        code = main(words)
        return Typed(code, *capsys.readouterr())

    return run


def as_uri(conninfo: str) -> str:
    return "postgres://{user}:{password}@{host}:{port}/{dbname}".format(
        **conninfo_to_dict(conninfo)
    )


@pytest.fixture
def include(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An include folder with the sync of the shop's orders."""
    write_include(tmp_path, MAPPING)
    monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
    return tmp_path


@pytest.fixture
def file(include: Path) -> Path:
    return include / "mappings" / "syncs" / "shop_orders.yaml"


@pytest.fixture
def case(
    include: Path,
    sync_case: SyncCase,
    changing_shop: ShopServer,
    monkeypatch: pytest.MonkeyPatch,
) -> SyncCase:
    """The same with 300 orders at an API, and connections as variables."""
    monkeypatch.setenv("AIRFLOW_CONN_COMMERCE", as_uri(sync_case.home))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_API", changing_shop.url)
    return sync_case


def mend(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


class TestLint:
    def test_syncs_are_looked_at_without_being_named(self, file: Path, typed: Type) -> None:
        assert typed("lint") == Typed(0, "1 mapping is sound\n", "")

    def test_every_kind_of_problem_has_its_place(self, file: Path, typed: Type) -> None:
        mend(file, "path: /orders", "path: /orders/{nothing}")
        mend(file, "by: order_id}", "by: order_nr, fallback: 1}")
        found = typed("lint", str(file))
        assert found.code == 1
        places = [line.removeprefix(f"{file}:").split(": ")[0] for line in found.out.splitlines()]
        assert len(places) >= 2
        for place in places:
            line, column = place.split(":")
            assert line.isdigit() and column.isdigit()
        assert "'nothing' is not known" in found.out

    def test_a_jsonpath_that_cannot_be_read_is_told_where_it_is_written(
        self, file: Path, typed: Type
    ) -> None:
        mend(file, "next: $.meta.next_cursor", "next: '$.meta[?'")
        mend(file, "key: [$.id]", "key: ['$.id[']")
        lines = file.read_text(encoding="utf-8").splitlines()
        found = typed("lint")
        assert found.code == 1
        for text in ("'$.meta[?'", "'$.id['"):
            (number,) = [i for i, line in enumerate(lines, start=1) if text in line]
            column = lines[number - 1].index(text) + 1
            assert f"{file}:{number}:{column}: {text} is no JSONPath" in found.out

    def test_wrong_sql_of_a_sync_is_told(self, file: Path, typed: Type) -> None:
        mend(file, "number: {from: number}", "number: {expr: 'upper('}")
        found = typed("lint")
        assert found.code == 1
        assert "expression" in found.out

    def test_waiting_for_what_nobody_loads_is_told(self, file: Path, typed: Type) -> None:
        other = MAPPING.replace("sync: shop_orders", "sync: follower\nschedule: {after: [shop_orders.lines, "
                                "shop_orders.oders]}")  # fmt: skip
        (file.parent / "follower.yaml").write_text(other, encoding="utf-8")
        found = typed("lint")
        assert found.code == 1
        assert found.out.count("\n") == 1
        assert "follower.yaml:3:39: the entity 'shop_orders.oders' is not known" in found.out
        assert "did you mean 'shop_orders.orders'?" in found.out

    def test_a_migration_and_a_sync_may_not_bear_one_name(self, file: Path, typed: Type) -> None:
        folder = file.parents[1] / "migrations"
        folder.mkdir()
        (folder / "m.yaml").write_text(
            "migration: shop_orders\nsource: {conn: a}\ntarget: {conn: b}\n"
            "entities: {t: {from: T, key: [i], columns: {i: {key: copy}}}}\n"
        )
        found = typed("lint")
        assert found.code == 1
        assert f"{file}:2:7: the sync 'shop_orders' is already declared at {folder}" in found.out


class TestTheSchema:
    FILE = ROOT / "include/mappings/sync.schema.json"

    def test_the_file_is_fresh(self, typed: Type) -> None:
        assert self.FILE.read_text() == render("sync"), "run sinew schema sync > that file"
        assert typed("schema", "sync").out == render("sync")

    def test_it_accepts_what_the_reader_accepts_and_refuses_typing_errors(self) -> None:
        schema = mapping_schema("sync")
        jsonschema.Draft202012Validator.check_schema(schema)
        judge = jsonschema.Draft202012Validator(schema)
        assert list(judge.iter_errors(load_document(MAPPING, "m").data)) == []
        for old, new in [
            ("by: window", "by: widow"),
            ("style: cursor, next", "style: curser, next"),
            ("records: $.data[*]", "records: data"),
            ("path: /orders", "paths: /orders"),
            ("key: copy", "key: copi"),
            ("resource: orders}", "resource: Orders}"),
        ]:
            assert old in MAPPING
            assert list(judge.iter_errors(load_document(MAPPING.replace(old, new), "m").data)), new


class TestExplain:
    def test_it_tells_the_plan_in_plain_words(self, include: Path, typed: Type) -> None:
        found = typed("explain", "shop_orders")
        assert found.code == 0
        assert found.out.startswith("# Sync shop_orders\n")
        assert "- When a person triggers it" in found.out

    def test_it_tells_one_entity_alone(self, include: Path, typed: Type) -> None:
        out = typed("explain", "shop_orders", "--entity", "lines").out
        assert out.startswith("## lines\n")
        assert "## orders" not in out

    def test_a_delivery_is_told_change_by_change(self, typed: Type) -> None:
        file = ROOT / "include" / "mappings" / "syncs" / "marketing_contacts.yaml"
        out = typed("explain", str(file)).out
        assert "- create: POST `/contacts/bulk`, up to 100 rows at once" in out
        assert "- delete: DELETE `/contacts/{external_id}`" in out
        assert "- Rows that are gone from the source: deleted" in out


class TestRun:
    def test_it_reads_a_window_and_goes_on_where_it_ended(
        self, case: SyncCase, typed: Type
    ) -> None:
        first = typed("run", "shop_orders", *ALL)
        assert first.code == 0, first.err
        assert case.rows("SELECT count(*) FROM shop.orders") == [(300,)]
        assert "window 2026-01-01T00:00:00+00:00 to 2026-07-01T00:00:00+00:00" in first.out

        second = typed("run", "shop_orders")
        assert second.code == 0, second.err
        windows = case.rows('SELECT lower, upper FROM sinew."window" ORDER BY id')
        assert windows[1][0] == windows[0][1]
        assert f"window {windows[0][1].isoformat()[:19]}" in second.out

    def test_answers_that_were_kept_are_transformed_again_without_asking(
        self, case: SyncCase, file: Path, changing_shop: ShopServer, typed: Type
    ) -> None:
        assert typed("run", "shop_orders", *ALL).code == 0
        mend(file, "number: {from: number}", "number: {from: number, do: [lower]}")
        asked = changing_shop.control.counters.snapshot()
        found = typed("run", "shop_orders", *ALL, "--keep-answers")
        assert found.code == 0, found.err
        assert changing_shop.control.counters.snapshot() == asked
        assert case.rows("SELECT count(*) FROM shop.orders WHERE number = lower(number)") == [
            (300,)
        ]

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ((), "has none that is complete"),
            (("--from", "yesterday"), "--from 'yesterday' is no moment"),
            (("--from", "2026-01-01"), "--from '2026-01-01' has no time zone"),
            (("--from", ALL[3], "--to", ALL[1]), "holds no time"),
            (("--from", ALL[1], "--to", "2100-01-01T00:00:00Z"), "still to come"),
            (("--phase", "pilot"), "has windows and no phases"),
        ],
    )
    def test_a_window_that_cannot_be_is_refused(
        self, case: SyncCase, typed: Type, words: tuple[str, ...], told: str
    ) -> None:
        found = typed("run", "shop_orders", *words)
        assert found.code == 2
        assert told in found.err
        assert case.rows("SELECT count(*) FROM shop.orders") == [(0,)]

    def test_a_name_that_is_neither_lists_both_kinds(self, include: Path, typed: Type) -> None:
        found = typed("run", "shop_oders")
        assert found.code == 2
        assert "there are: shop_orders" in found.err


class TestStatus:
    def test_before_any_run_it_says_so(self, case: SyncCase, typed: Type) -> None:
        assert "never run here" in typed("status", "shop_orders").out

    def test_it_tells_windows_and_rows(self, case: SyncCase, typed: Type) -> None:
        typed("run", "shop_orders", *ALL)
        out = typed("status", "shop_orders").out
        assert "2026-01-01 00:00:00+00:00  2026-07-01 00:00:00+00:00  complete" in out
        assert [line.split()[:4] for line in out.splitlines() if line.startswith("orders")] == [
            ["orders", "validated", "300", "300"]
        ]

    def test_it_tells_the_same_as_json(self, case: SyncCase, typed: Type) -> None:
        typed("run", "shop_orders", *ALL)
        found = json.loads(typed("status", "shop_orders", "--json").out)
        assert found["scopes"] == {"orders": "window", "lines": "window"}
        (window,) = found["windows"]
        assert window["state"] == "complete"
        assert {e["entity"]: e["loaded"] for e in window["entities"]}["orders"] == 300
        assert (found["positions"], found["receipts"]) == ([], [])

    def test_it_tells_how_far_a_sync_has_read_and_what_an_api_said(
        self, case: SyncCase, typed: Type
    ) -> None:
        typed("run", "shop_orders", *ALL)
        insert(case, "accepted", "refused", "accepted")
        found = json.loads(typed("status", "shop_orders", "--json").out)
        assert [(p["name"], p["bookmark"]) for p in found["positions"]] == [("orders", "token")]
        # The refused row was sent again and accepted: the newest word counts.
        assert found["receipts"] == [{"entity": "orders", "status": "accepted", "rows": 2}]
        out = typed("status", "shop_orders").out
        assert "Read so far" in out
        assert "The API's newest word on each row" in out


def insert(case: SyncCase, first: str, second: str, then: str) -> None:
    """Plant a position and receipts: of one key the first word, of another two."""
    import psycopg

    with psycopg.connect(case.home) as conn:
        conn.execute(
            "INSERT INTO sinew.position (mapping, name, moment, bookmark) VALUES ('shop_orders', 'orders', now(), 'token')"
        )
        for key, status in ((1, first), (2, second), (2, then)):
            conn.execute(
                "INSERT INTO sinew.receipt (mapping, entity, batch_id, source_key, version, change, idempotency_key, "
                "status, attempts, sent_at) SELECT 'shop_orders', 'orders', min(id), to_jsonb(%s), 1, 'create', 'k', %s, "
                "1, now() FROM sinew.batch",
                (key, status),
            )


class TestRedeliver:
    @pytest.fixture
    def contacts(
        self, delivery: DeliverCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> DeliverCase:
        """Thirty customers, of whom the API refuses one; the mapping lies where the command line looks."""
        delivery.fill(30)
        delivery.sql("UPDATE crm.customers SET email = 'nowhere' WHERE id = 7")
        monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
        monkeypatch.setenv("AIRFLOW_CONN_CRM", as_uri(delivery.home))
        monkeypatch.setenv("AIRFLOW_CONN_MARKETING_API", delivery.shop.url)
        folder = tmp_path / "mappings" / "syncs"
        folder.mkdir(parents=True)
        (folder / "contacts.yaml").write_text(delivery.text, encoding="utf-8")
        return delivery

    def test_what_an_api_refused_is_told_and_sent_again_when_asked(
        self, contacts: DeliverCase, typed: Type
    ) -> None:
        first = typed("run", "contacts")
        assert first.code == 0, first.err
        assert refused(typed) == {"accepted": 29, "refused": 1}
        # The row itself does not change: by itself, no run would try it once more.
        assert typed("run", "contacts").code == 0
        sent = entries(contacts.shop.store)

        found = typed("redeliver", "contacts", "--entity", "contacts")
        assert found == Typed(
            0,
            "1 rows that were refused wait to be sent again\n"
            "The next run sends them: sinew run contacts\n",
            "",
        )
        assert entries(contacts.shop.store) == sent
        assert typed("run", "contacts").code == 0
        assert len(entries(contacts.shop.store)) == len(sent) + 1
        assert refused(typed) == {"accepted": 29, "refused": 1}

    def test_an_entity_that_is_not_there_is_refused(
        self, contacts: DeliverCase, typed: Type
    ) -> None:
        found = typed("redeliver", "contacts", "--entity", "people")
        assert found.code == 2
        assert "contacts has no entity 'people'" in found.err

    def test_rows_of_a_window_name_the_run_that_sends_them(
        self, contacts: DeliverCase, tmp_path: Path, typed: Type
    ) -> None:
        file = tmp_path / "mappings" / "syncs" / "contacts.yaml"
        mend(file, "    vanished: delete\n", "    watermark: {column: updated_at}\n")
        window = ("--from", "2026-04-01T00:00:00+00:00", "--to", "2026-06-01T00:00:00+00:00")
        done = typed("run", "contacts", *window)
        assert done.code == 0, done.err
        out = typed("redeliver", "contacts").out
        assert f"sinew run contacts {' '.join(window)}" in out


def refused(typed: Type) -> dict[str, int]:
    """The API's newest words, as `status` counts them."""
    found = json.loads(typed("status", "contacts", "--json").out)["receipts"]
    return {each["status"]: each["rows"] for each in found}


class TestWhatIsForTheOtherKind:
    @pytest.mark.parametrize("command", ["diff", "report"])
    def test_a_command_for_migrations_refuses_a_sync(
        self, include: Path, typed: Type, command: str
    ) -> None:
        found = typed(command, "shop_orders")
        assert found.code == 2
        assert "shop_orders is a sync" in found.err

    def test_the_statements_of_a_sync_are_not_printed(self, include: Path, typed: Type) -> None:
        assert typed("explain", "shop_orders", "--sql").code == 2

    def test_a_migration_has_no_windows(self, typed: Type) -> None:
        file = ROOT / "include" / "mappings" / "migrations" / "retail.yaml"
        # Its connections are not asked for: the words are wrong by themselves.
        found = typed("redeliver", str(file))
        assert found.code == 2
        assert "retail is a migration" in found.err

    def test_what_goes_to_a_database_is_never_sent_again(self, include: Path, typed: Type) -> None:
        found = typed("redeliver", "shop_orders")
        assert found.code == 2
        assert "fills a database" in found.err


class TestAudit:
    def test_a_sync_that_can_work_is_called_so_and_nothing_is_written(
        self, case: SyncCase, typed: Type
    ) -> None:
        found = typed("audit", "shop_orders")
        assert found.code == 0, found.out + found.err
        assert "The plan can work." in found.out
        assert case.rows("SELECT to_regclass('sinew.batch')") == [(None,)]


class TestDocs:
    TEXT = (ROOT / "docs/syncs.md").read_text()

    def test_every_key_is_in_a_table(self) -> None:
        import re

        rows = set(re.findall(r"^\| `([\w#]+)`", self.TEXT, re.M))
        shared = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/mapping.md").read_text(), re.M))
        assert keys(Sync) - rows - shared == set()

    def test_every_mapping_in_it_is_right(self) -> None:
        import re

        blocks = re.findall(r"```yaml\n(sync:.*?)```", self.TEXT, re.S)
        assert len(blocks) >= 4
        for block in blocks:
            parse_mapping(block, kind=Sync)

    def test_every_key_has_a_description_and_an_example(self) -> None:
        for model in models(Sync):
            for name, field in model.model_fields.items():
                assert field.description, f"{model.__name__}.{name}"


def keys(model: type) -> set[str]:
    """Every key that a mapping of a sync may have, but those of columns."""
    return {
        field.alias or name for each in models(model) for name, field in each.model_fields.items()
    }


def models(model: type) -> set[type]:
    """A model and all that its fields lead to."""
    from typing import get_args

    from pydantic import BaseModel

    from sinew.spec.columns import ColumnBase

    found: set[type] = set()

    def look(kind: object) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind in found or issubclass(kind, ColumnBase):
                return
            found.add(kind)
            for field in kind.model_fields.values():
                look(field.annotation)
        for part in get_args(kind):
            look(part)

    look(model)
    return found
