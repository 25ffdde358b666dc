"""A whole migration, driven without Airflow: every row is accounted for, and doing it again changes nothing."""

from __future__ import annotations

import pytest

from sinew.engine.driver import run
from sinew.engine.planner import plan_phase, prepare
from sinew.engine.prove import prove_phase
from sinew.engine.steps import run_step
from sinew.errors import (
    ConfigurationError,
    ConstraintError,
    GateFailedError,
    MismatchError,
    PlanChangedError,
    PreflightError,
)
from tests.fix_shop import RECONCILE, REJECTS, Shop


def rejects(shop: Shop) -> dict[tuple[object, ...], object]:
    rows = shop.new(
        "SELECT entity, rule, count(*) FROM sinew.reject WHERE scope = 'row' GROUP BY 1, 2"
    )
    return {(entity, rule): count for entity, rule, count in rows}


def test_exactly_the_broken_rows_are_rejected_and_their_dependants_counted_apart(
    shop: Shop,
) -> None:
    run(shop.context())
    assert rejects(shop) == REJECTS


@pytest.mark.parametrize("mode", ["auto", "text"])
def test_source_rows_equal_loaded_plus_rejected_for_every_entity(shop: Shop, mode: str) -> None:
    run(shop.context(hash=mode))
    for entity, table in [
        ("customers", "CUST"),
        ("orders", "ORD"),
        ("lines", "LINE"),
        ("log", "LOG"),
        ("tags", "TAG"),
    ]:
        (source,) = shop.old(f'SELECT count(*) FROM "{table}"')
        (target,) = shop.new(f"SELECT count(*) FROM shop.{entity}")
        (kept_out,) = shop.new(
            f"SELECT count(*) FROM sinew.reject WHERE entity = '{entity}' AND scope = 'row'"
        )
        assert source[0] == target[0] + kept_out[0]  # type: ignore[operator]


def test_values_arrive_as_the_mapping_says(shop: Shop) -> None:
    run(shop.context())
    assert shop.new(
        "SELECT name, email, joined_on::text, kind FROM shop.customers c "
        "JOIN sinew_rows.shop__customers w ON w.t1 = c.customer_id WHERE w.k1 = 3"
    ) == [("Customer 3", "c3@shop.example", "2020-01-04", "A")]
    assert shop.new(
        "SELECT note IS NULL, note FROM shop.lines WHERE order_id = 1 ORDER BY line_no"
    ) == [
        (False, ""),
        (True, None),
        (False, "x"),
    ]


def test_running_again_at_once_moves_nothing(shop: Shop) -> None:
    run(shop.context())
    before = shop.picture()
    assert run(shop.context()).batches == 0
    assert shop.picture() == before


def test_the_same_rows_arrive_in_one_phase_as_in_two(shop: Shop) -> None:
    run(shop.context(cohort="", rows=100000))
    assert rejects(shop) == REJECTS
    assert shop.new("SELECT count(*) FROM shop.lines") == [(2902,)]


def test_references_to_later_rows_are_filled_in_a_second_pass(shop: Shop) -> None:
    run(shop.context())
    assert shop.new(
        "SELECT w.k1, p.k1 FROM shop.customers c JOIN sinew_rows.shop__customers w ON w.t1 = c.customer_id "
        "JOIN sinew_rows.shop__customers p ON p.t1 = c.referrer_id ORDER BY 1"
    ) == [(n, n + 30) for n in range(7, 71, 7) if n != 14 and n + 30 not in (40, 55)]
    told = shop.new(
        "SELECT source_key ->> 'NO', rule FROM sinew.reject WHERE scope = 'value' ORDER BY 1"
    )
    assert ("13", "orphan") in told and ("14", "parent_rejected") in told


def test_a_row_whose_parent_is_mended_comes_with_it(shop: Shop) -> None:
    run(shop.context())
    shop.old('UPDATE "CUST" SET "JOINED" = \'20230228\' WHERE "NO" IN (11, 40)')
    with pytest.raises(MismatchError, match="customers: source and row ledger differ"):
        prove_phase(shop.context(), "rest")
    run(shop.context())
    assert rejects(shop)[("orders", "parent_rejected")] == 10
    assert ("customers", "parse_date") not in rejects(shop)


def test_changed_new_and_vanished_source_rows_are_found_and_the_next_run_follows(
    shop: Shop,
) -> None:
    run(shop.context())
    shop.old('UPDATE "LINE" SET "NOTE" = \'changed\' WHERE "ORD_ID" = 3')
    shop.old('DELETE FROM "LINE" WHERE "ORD_ID" = 4')
    shop.old('INSERT INTO "LINE" VALUES (5, 99, 1, 100, NULL)')
    with pytest.raises(MismatchError, match="lines: source and row ledger differ in 7 rows"):
        prove_phase(shop.context(), "rest")
    run(shop.context())
    assert shop.new("SELECT DISTINCT note FROM shop.lines WHERE order_id = 3") == [("changed",)]
    assert shop.new("SELECT count(*) FROM shop.lines WHERE order_id = 4") == [(0,)]
    assert shop.new("SELECT state FROM sinew_rows.shop__lines WHERE k1 = 4") == [("deleted",)] * 3
    assert shop.new("SELECT count(*) FROM shop.lines WHERE order_id = 5 AND line_no = 99") == [(1,)]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE shop.lines SET amount = 99 WHERE order_id = 9 AND line_no = 1",
        "DELETE FROM shop.lines WHERE order_id = 9 AND line_no = 1",
        "UPDATE shop.lines SET note = '' WHERE order_id = 9 AND line_no = 2",
    ],
)
def test_damage_in_the_target_is_found_and_mended_by_the_next_run(shop: Shop, damage: str) -> None:
    run(shop.context())
    before = shop.picture()
    shop.new(damage)
    with pytest.raises(MismatchError, match="lines: row ledger and target differ in 1 rows"):
        prove_phase(shop.context(), "rest")
    run(shop.context())
    assert shop.picture() == before


def test_a_rogue_row_in_the_target_is_named(shop: Shop) -> None:
    run(shop.context())
    shop.new("INSERT INTO shop.tags OVERRIDING SYSTEM VALUE VALUES (777, 'rogue', 'x')")
    with pytest.raises(MismatchError, match=r"tags.*extra \(777\)"):
        run(shop.context())


def test_a_mapping_changed_in_mid_run_is_refused(shop: Shop) -> None:
    context = shop.context()
    prepare(context)
    (batch_id, *_) = plan_phase(context, "pilot")["customers"]
    changed = shop.context(change=("do: [trim, lower], pii", "do: [trim, upper], pii"))
    with pytest.raises(PlanChangedError, match="start a new run"):
        run_step(changed, batch_id, "extract")


def test_a_new_plan_does_again_only_the_entity_that_it_changes(shop: Shop) -> None:
    run(shop.context())
    moved = run(shop.context(change=("title: {from: TITLE}", "title: {from: TITLE, do: [upper]}")))
    assert moved.batches == 1
    assert shop.new("SELECT title FROM shop.tags WHERE code = 't1'") == [("TAG 1",)]


def test_identity_keys_survive_a_second_load(shop: Shop) -> None:
    run(shop.context())
    before = shop.new("SELECT code, tag_id FROM shop.tags ORDER BY 1")
    run(shop.context(change=("title: {from: TITLE}", "title: {from: TITLE, do: [upper]}")))
    assert shop.new("SELECT code, tag_id FROM shop.tags ORDER BY 1") == before


def test_a_target_that_holds_rows_stops_the_plan_unless_the_mapping_says_otherwise(
    shop: Shop,
) -> None:
    shop.new("INSERT INTO shop.tags (code, title) VALUES ('mine', 'Mine')")
    with pytest.raises(PreflightError, match="existing: update"):
        prepare(shop.context())


def test_existing_update_overwrites_rows_of_the_same_key_and_leaves_others(shop: Shop) -> None:
    shop.new(
        "INSERT INTO shop.customers VALUES (gen_random_uuid(), 'Stranger', 'x@y', '2020-01-01', NULL, 'Z')"
    )
    shop.new(
        "INSERT INTO shop.orders SELECT 1, customer_id, now(), 0 FROM shop.customers WHERE name = 'Stranger'"
    )
    run(shop.context(existing="update"))
    assert shop.new("SELECT total::text FROM shop.orders WHERE order_id = 1") == [("0.10",)]
    assert shop.new("SELECT count(*) FROM shop.customers WHERE name = 'Stranger'") == [(1,)]


def test_existing_keep_leaves_the_target_row_and_says_kept(shop: Shop) -> None:
    shop.new(
        "INSERT INTO shop.customers VALUES (gen_random_uuid(), 'Stranger', 'x@y', '2020-01-01', NULL, 'Z')"
    )
    shop.new(
        "INSERT INTO shop.orders SELECT 1, customer_id, now(), 0 FROM shop.customers WHERE name = 'Stranger'"
    )
    run(shop.context(existing="keep", change=(RECONCILE, "")))
    assert shop.new("SELECT total::text FROM shop.orders WHERE order_id = 1") == [("0.00",)]
    assert shop.new("SELECT state FROM sinew_rows.shop__orders WHERE k1 = 1") == [("kept",)]


def test_a_contract_violation_stops_its_batch_alone_and_mending_the_contract_completes_it(
    shop: Shop,
) -> None:
    path = shop.include / "contracts" / "shop" / "tags.yaml"
    path.write_text(
        "dataset: any\ncolumns:\n  - name: title\n    checks:\n      - invalid:\n          valid_values: [Nothing]\n"
    )
    context = shop.context()
    prepare(context)
    planned = plan_phase(context, "pilot")
    with pytest.raises(GateFailedError, match="title"):
        run_step(context, planned["tags"][0], "check")
    for batch_id in planned["log"]:
        run_step(context, batch_id, "validate")
    with pytest.raises(GateFailedError):
        run_step(context, planned["tags"][0], "load")
    with pytest.raises(MismatchError, match="not validated"):
        prove_phase(context, "pilot")
    assert shop.new("SELECT count(*) FROM shop.tags") == [(0,)]
    path.unlink()
    run(context)
    assert shop.new("SELECT count(*) FROM shop.tags") == [(20,)]


def test_too_many_rejects_fail_the_gate_and_mending_the_data_completes_it(shop: Shop) -> None:
    context = shop.context(change=("max_rejects: 0.5", "max_rejects: 0"))
    prepare(context)
    batch_ids = plan_phase(context, "pilot")["customers"]
    with pytest.raises(GateFailedError, match="max_rejects"):
        run_step(context, batch_ids[0], "validate")
    shop.old('UPDATE "CUST" SET "JOINED" = \'20230228\' WHERE "NO" IN (11, 40)')
    assert run_step(context, batch_ids[0], "check").state == "checked"


def test_on_error_fail_stops_the_batch_and_names_the_column(shop: Shop) -> None:
    change = ("do: [{parse_date: YYYYMMDD}]", "do: [{parse_date: YYYYMMDD}], on_error: fail")
    context = shop.context(change=change)
    prepare(context)
    with pytest.raises(Exception, match="joined_on: 1 rows break parse_date"):
        run_step(context, plan_phase(context, "pilot")["customers"][0], "transform")


def test_rows_whose_expression_fails_are_found_one_by_one(shop: Shop) -> None:
    change = (
        """{expr: '"CENTS"::numeric / 100'}""",
        """{expr: '"CENTS"::numeric / ("ID" % 100)', do: [{round: 2}]}""",
    )
    run(shop.context(change=change))
    assert rejects(shop)[("orders", "expression")] == 10


def test_a_target_constraint_that_refuses_a_row_leaves_nothing_half_loaded(shop: Shop) -> None:
    shop.new("ALTER TABLE shop.orders ADD CONSTRAINT no_777 CHECK (order_id <> 777)")
    context = shop.context(cohort="")
    with pytest.raises(ConstraintError, match="no_777"):
        run(context)
    (loaded,) = shop.new("SELECT count(*) FROM shop.orders")
    (entries,) = shop.new("SELECT count(*) FROM sinew_rows.shop__orders WHERE state = 'live'")
    assert loaded == entries
    shop.new("ALTER TABLE shop.orders DROP CONSTRAINT no_777")
    run(context)
    assert rejects(shop) == REJECTS


def test_a_source_column_dropped_after_the_plan_is_named(shop: Shop) -> None:
    context = shop.context()
    prepare(context)
    batch_ids = plan_phase(context, "pilot")["customers"]
    shop.old('ALTER TABLE "CUST" DROP COLUMN "NAME"')
    with pytest.raises(ConfigurationError, match="shop/customers batch .*NAME"):
        run_step(context, batch_ids[0], "extract")


def test_everything_wrong_in_a_plan_is_told_at_once_with_its_place(shop: Shop) -> None:
    shop.old('ALTER TABLE "CUST" RENAME COLUMN "NAME" TO "NOM"')
    shop.new("ALTER TABLE shop.tags DROP COLUMN title")
    with pytest.raises(PreflightError) as caught:
        prepare(shop.context())
    told = str(caught.value)
    assert "unknown source column 'NAME'" in told and "unknown target column 'title'" in told
    assert all(problem.location is not None for problem in caught.value.problems)


def test_a_key_that_is_not_unique_is_refused_before_a_row_moves(shop: Shop) -> None:
    shop.old('ALTER TABLE "TAG" DROP CONSTRAINT "TAG_pkey"')
    shop.old("INSERT INTO \"TAG\" VALUES ('t1', 'again')")
    with pytest.raises(PreflightError, match="not unique: 1 keys"):
        prepare(shop.context())


def test_rows_without_a_key_are_rejected_and_counted(shop: Shop) -> None:
    shop.old('ALTER TABLE "TAG" DROP CONSTRAINT "TAG_pkey"')
    shop.old('ALTER TABLE "TAG" ALTER "CODE" DROP NOT NULL')
    shop.old("INSERT INTO \"TAG\" VALUES (NULL, 'nameless')")
    run(shop.context())
    assert rejects(shop)[("tags", "null_key")] == 1


def test_big_bang_swaps_all_tables_at_once_and_leaves_the_live_ones_alone_until_then(
    shop: Shop,
) -> None:
    shop.new("INSERT INTO shop.tags (code, title) VALUES ('before', 'the swap')")
    shop.new("CREATE ROLE shop_reader_test; GRANT SELECT ON shop.orders TO shop_reader_test")
    try:
        context = shop.context(cohort="", strategy="big_bang")
        prepare(context)
        for entity_batches in plan_phase(context, "all").values():
            for batch_id in entity_batches:
                run_step(context, batch_id, "validate")
        assert shop.new("SELECT code FROM shop.tags") == [("before",)]
        run(context)
        assert shop.new("SELECT count(*) FROM shop.tags") == [(20,)]
        assert shop.new("SELECT code FROM sinew_old.tags") == [("before",)]
        assert shop.new(
            "SELECT has_table_privilege('shop_reader_test', 'shop.orders', 'SELECT')"
        ) == [(True,)]
        assert shop.new(
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'shop.lines'::regclass AND contype = 'f'"
        ) == [(1,)]
        shop.new("INSERT INTO shop.tags (code, title) VALUES ('after', 'the swap')")
    finally:
        shop.new("DROP OWNED BY shop_reader_test; DROP ROLE shop_reader_test")


def test_big_bang_leaves_the_live_tables_alone_when_the_source_changed_meanwhile(
    shop: Shop,
) -> None:
    context = shop.context(cohort="", strategy="big_bang")
    prepare(context)
    for entity_batches in plan_phase(context, "all").values():
        for batch_id in entity_batches:
            run_step(context, batch_id, "validate")
    shop.old('UPDATE "TAG" SET "TITLE" = \'late\' WHERE "CODE" = \'t3\'')
    with pytest.raises(MismatchError, match="tags"):
        prove_phase(context, "all")
    assert shop.new("SELECT count(*) FROM shop.tags") == [(0,)]
    run(context)
    assert shop.new("SELECT title FROM shop.tags WHERE code = 't3'") == [("late",)]
