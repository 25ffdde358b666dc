"""Servers, roles and data that fail: the right class of error, a message that names the batch, nothing half done."""

from __future__ import annotations

import pickle
import threading
import time
import traceback
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sinew.engine.planner import plan_phase, prepare
from sinew.engine.session import Endpoint, connect, translated
from sinew.engine.session import _translate as translate
from sinew.engine.steps import Context, run_step
from sinew.errors import (
    ConfigurationError,
    ConstraintError,
    GateFailedError,
    InterruptedStepError,
    PreflightError,
    RetriableError,
    SinewError,
    StatementError,
    UnavailableError,
)
from tests.fix_shop import Shop
from tests.kit_picture import half_done

PASSWORD = "a-password-that-nobody-may-see"


def one_phase(shop: Shop) -> Context:
    return shop.context(cohort="", rows=10_000)


def planned(shop: Shop) -> dict[str, int]:
    """Plan the shop as one phase; its batches by entity."""
    context = one_phase(shop)
    prepare(context)
    return {name: ids[0] for name, ids in plan_phase(context, "all", 10_000).items()}


def with_(endpoint: Endpoint, **parts: object) -> Endpoint:
    return Endpoint(endpoint.conn_id, make_conninfo(endpoint.conninfo, **parts))


def failure(context: Context, batch_id: int, step: str = "validate") -> SinewError:
    """The error of a step, which names its batch, holds no secret, and crosses a process border as it is."""
    with pytest.raises(SinewError) as caught:
        run_step(context, batch_id, step)
    error = caught.value
    assert "shop" in str(error) and f"batch {batch_id}" in str(error)
    told = "".join(traceback.format_exception(error))
    assert PASSWORD not in told and "shop.example" not in told.lower()
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
    return error


def assert_mended(shop: Shop, batch_id: int) -> None:
    """Nothing was half done, and the same step works once the fault is gone."""
    context = one_phase(shop)
    assert half_done(context) == []
    assert run_step(context, batch_id, "validate").state == "validated"
    assert half_done(context) == []


# --- servers and roles


@pytest.mark.parametrize("side", ["source", "home"])
def test_a_server_that_is_down_is_a_fault_to_try_again(shop: Shop, side: str) -> None:
    batch_id = planned(shop)["tags"]
    gone = {side: with_(getattr(shop, side), port=1)}
    error = failure(Context(**{**vars(one_phase(shop)), **gone}), batch_id)
    assert isinstance(error, UnavailableError)
    assert getattr(shop, side).conn_id in str(error) and "127.0.0.1:1/" in str(error)
    assert_mended(shop, batch_id)


@pytest.mark.parametrize("side", ["source", "home"])
def test_a_wrong_password_is_for_a_person_to_mend_and_is_not_shown(shop: Shop, side: str) -> None:
    batch_id = planned(shop)["tags"]
    wrong = {side: with_(getattr(shop, side), password=PASSWORD)}
    error = failure(Context(**{**vars(one_phase(shop)), **wrong}), batch_id)
    assert isinstance(error, ConfigurationError) and getattr(shop, side).conn_id in str(error)
    assert_mended(shop, batch_id)


@pytest.fixture
def clerk(shop: Shop) -> Iterator[str]:
    """A role without any privilege, that may log in."""
    name = f"clerk_{conninfo_to_dict(shop.home.conninfo)['dbname']}"
    role = sql.Identifier(name).as_string(None)
    shop.new(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    for endpoint in (shop.source, shop.home):
        database = sql.Identifier(str(conninfo_to_dict(endpoint.conninfo)["dbname"])).as_string(
            None
        )
        shop.new(f"GRANT CONNECT ON DATABASE {database} TO {role}")
    yield name
    for run_on in (shop.old, shop.new):
        run_on(f"DROP OWNED BY {role} CASCADE")
    shop.new(f"DROP ROLE {role}")


def test_a_missing_privilege_at_the_source_is_told_as_its_grant(shop: Shop, clerk: str) -> None:
    context = Context(
        **{**vars(one_phase(shop)), "source": with_(shop.source, user=clerk, password=PASSWORD)}
    )
    with pytest.raises(
        ConfigurationError, match=f'GRANT SELECT ON (TABLE )?"?public"?."?CUST"? TO "?{clerk}'
    ) as caught:
        prepare(context)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_missing_privilege_at_the_target_is_told_as_its_grant(shop: Shop, clerk: str) -> None:
    context = Context(
        **{**vars(one_phase(shop)), "home": with_(shop.home, user=clerk, password=PASSWORD)}
    )
    with pytest.raises(PreflightError, match=f'GRANT CREATE ON DATABASE .* TO "?{clerk}'):
        prepare(context)


def test_a_privilege_that_is_taken_away_after_the_plan_is_for_a_person_to_give(
    shop: Shop, clerk: str
) -> None:
    batch_id = planned(shop)["tags"]
    context = Context(
        **{**vars(one_phase(shop)), "source": with_(shop.source, user=clerk, password=PASSWORD)}
    )
    error = failure(context, batch_id)
    assert isinstance(error, ConfigurationError) and "TAG" in str(error)
    assert_mended(shop, batch_id)


# --- broken off


def end_sessions_at(shop: Shop, query_like: str, how: str) -> threading.Thread:
    """End, once, the first session that runs such a query."""

    def watch() -> None:
        for _ in range(3000):
            if shop.old(
                f"SELECT {how}(pid) FROM pg_stat_activity WHERE application_name LIKE 'sinew %' "
                f"AND state = 'active' AND query LIKE '{query_like}'"
            ):
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["pg_terminate_backend", "pg_cancel_backend"])
@pytest.mark.parametrize("query", ["COPY (%", "COPY %FROM STDIN%"])
def test_a_copy_that_is_broken_off_in_the_middle_is_tried_again(
    shop: Shop, how: str, query: str
) -> None:
    shop.old(
        "INSERT INTO \"TAG\" SELECT 'u' || n, repeat('Tag ', 20) FROM generate_series(1, 300000) AS n"
    )
    batch_id = planned(shop)["tags"]
    watcher = end_sessions_at(shop, query, how)
    error = failure(one_phase(shop), batch_id)
    watcher.join()
    assert isinstance(error, RetriableError), error
    assert_mended(shop, batch_id)


def test_a_statement_timeout_is_tried_again(shop: Shop) -> None:
    with (
        connect(shop.home) as conn,
        pytest.raises(InterruptedStepError, match=r"doing it: QueryCanceled \(57014\)"),
    ):
        with translated("doing it"):
            conn.execute("SET statement_timeout = '50ms'")
            conn.execute("SELECT pg_sleep(10)")


def test_a_lock_that_is_not_given_in_time_is_tried_again(shop: Shop) -> None:
    with (
        connect(shop.home) as holder,
        connect(shop.home, lock_timeout="50ms") as conn,
        holder.transaction(),
    ):
        holder.execute("LOCK TABLE shop.tags")
        with pytest.raises(InterruptedStepError, match="55P03"), translated("doing it"):
            conn.execute("SELECT FROM shop.tags")


def test_a_full_disk_is_tried_again_and_said_to_be_the_servers(shop: Shop) -> None:
    with connect(shop.home) as conn, pytest.raises(UnavailableError, match="look at the server"):
        with translated("doing it"):
            conn.execute("SET temp_file_limit = '100kB'")
            conn.execute(
                "SELECT count(*) FROM (SELECT n FROM generate_series(1, 3000000) AS n ORDER BY -n) AS t"
            )


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT 'Smith'::integer", r"doing it: InvalidTextRepresentation \(22P02\)"),
        ("SELECT date '3 Smith'", r"doing it: InvalidDatetimeFormat \(22007\)"),
        ("INSERT INTO shop.tags (code) VALUES ('Smith')", r"\(23502\), table tags, column title"),
        ("SELECT shop.refuse('Smith')",
         r"RaiseException \(P0001\), PL/pgSQL function shop.refuse\(text\) line 1 at RAISE"),
    ],
)  # fmt: skip
def test_a_message_that_may_quote_a_value_is_not_passed_on(
    shop: Shop, query: str, told: str
) -> None:
    shop.new(
        "CREATE FUNCTION shop.refuse(text) RETURNS void LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''% is no customer'', $1; END'"
    )
    with connect(shop.home) as conn, pytest.raises(SinewError, match=told) as raised:
        with translated("doing it"):
            conn.execute(query.encode())
    assert "Smith" not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


# --- things that changed since the plan


def test_a_column_that_is_dropped_after_the_plan_is_named(shop: Shop) -> None:
    batch_id = planned(shop)["tags"]
    shop.old('ALTER TABLE "TAG" RENAME "TITLE" TO "NAME"')
    error = failure(one_phase(shop), batch_id)
    assert (
        isinstance(error, ConfigurationError)
        and "TITLE" in str(error)
        and "plan again" in str(error)
    )
    shop.old('ALTER TABLE "TAG" RENAME "NAME" TO "TITLE"')
    assert_mended(shop, batch_id)


def test_a_constraint_that_the_rows_violate_at_the_load_is_named_and_no_row_is_shown(
    shop: Shop,
) -> None:
    batch_id = planned(shop)["customers"]
    shop.new(
        "ALTER TABLE shop.customers ADD CONSTRAINT no_seventh CHECK (email <> 'c7@shop.example')"
    )
    error = failure(one_phase(shop), batch_id)
    assert (
        isinstance(error, ConstraintError)
        and "no_seventh" in str(error)
        and "shop/customers" in str(error)
    )
    assert shop.new("SELECT count(*) FROM shop.customers") == [(0,)]
    assert shop.new(f"SELECT state, error IS NOT NULL FROM sinew.batch WHERE id = {batch_id}") == [
        ("checked", True)
    ]
    shop.new("ALTER TABLE shop.customers DROP CONSTRAINT no_seventh")
    assert_mended(shop, batch_id)


# --- nothing passes the gate but what passed it


@pytest.fixture
def judged(shop: Shop) -> tuple[Shop, int]:
    """A batch whose gate passed, not loaded."""
    batch_id = planned(shop)["tags"]
    run_step(one_phase(shop), batch_id, "check")
    return shop, batch_id


PROMOTE = (
    "INSERT INTO sinew.promotion (batch_id, attempt, staging_hash, passed) "
    "SELECT batch_id, {attempt}, {hash}, {passed} FROM sinew.gate WHERE batch_id = {batch}"
)


@pytest.mark.parametrize(
    ("attempt", "hash_", "passed"),
    [
        ("attempt + 1", "staging_hash", "true"),
        ("attempt", "staging_hash + 1", "true"),
        ("attempt", "staging_hash", "NULL"),
        ("attempt", "staging_hash", "false"),
        ("NULL", "staging_hash", "true"),
        ("attempt", "NULL", "true"),
    ],
)
def test_the_ledger_takes_no_promotion_without_the_passed_gate_of_that_very_data(
    judged: tuple[Shop, int], attempt: str, hash_: str, passed: str
) -> None:
    shop, batch_id = judged
    with pytest.raises(psycopg.IntegrityError):
        shop.new(PROMOTE.format(attempt=attempt, hash=hash_, passed=passed, batch=batch_id))
    shop.new(PROMOTE.format(attempt="attempt", hash="staging_hash", passed="true", batch=batch_id))


def test_the_ledger_takes_no_promotion_by_a_failed_gate(judged: tuple[Shop, int]) -> None:
    shop, batch_id = judged
    shop.new("UPDATE sinew.gate SET passed = false")
    with pytest.raises(psycopg.IntegrityError):
        shop.new(
            PROMOTE.format(attempt="attempt", hash="staging_hash", passed="true", batch=batch_id)
        )


def test_a_batch_is_not_loaded_when_its_gate_failed_whatever_its_state_says(
    judged: tuple[Shop, int],
) -> None:
    shop, batch_id = judged
    shop.new("UPDATE sinew.gate SET passed = false")
    assert isinstance(failure(one_phase(shop), batch_id, "load"), GateFailedError)
    assert shop.new("SELECT count(*) FROM shop.tags") == [(0,)]


def test_a_passed_gate_does_not_outlive_another_transform(judged: tuple[Shop, int]) -> None:
    shop, batch_id = judged
    shop.old('UPDATE "TAG" SET "TITLE" = \'Another\' WHERE "CODE" = \'t1\'')
    shop.new("UPDATE sinew.batch SET state = 'planned'")
    run_step(one_phase(shop), batch_id, "transform")
    # Somebody says that it was judged: the verdict of the earlier data is no verdict of these.
    shop.new(f"UPDATE sinew.batch SET state = 'checked' WHERE id = {batch_id}")
    assert isinstance(failure(one_phase(shop), batch_id, "load"), GateFailedError)
    assert shop.new("SELECT count(*) FROM shop.tags") == [(0,)]


# --- the driver's errors, class by class

# The first two characters of an SQLSTATE decide, with exceptions; classes that are not here repeat: StatementError.
BY_CLASS: dict[str, type[SinewError]] = {
    "08": UnavailableError,
    "53": UnavailableError,
    "58": UnavailableError,
    "57": StatementError,
    "28": ConfigurationError,
    "23": ConstraintError,
    "44": ConstraintError,
}
BY_STATE: dict[str, type[SinewError]] = {
    "57014": InterruptedStepError,
    "57P01": UnavailableError,
    "57P02": UnavailableError,
    "57P03": UnavailableError,
    "57P04": UnavailableError,
    "57P05": UnavailableError,
    "40001": InterruptedStepError,
    "40P01": InterruptedStepError,
    "55P03": InterruptedStepError,
    "25P03": InterruptedStepError,
    "25P04": InterruptedStepError,
    "42501": ConfigurationError,
    "3D000": ConfigurationError,
    "3F000": ConfigurationError,
    "42P01": ConfigurationError,
    "42703": ConfigurationError,
    "42704": ConfigurationError,
    "42883": ConfigurationError,
}
STATES = sorted(
    error.sqlstate
    for error in vars(psycopg.errors).values()
    if isinstance(error, type) and isinstance(getattr(error, "sqlstate", None), str)
)


@pytest.mark.parametrize("state", STATES)
def test_every_error_of_the_driver_becomes_the_one_that_says_what_to_do(state: str) -> None:
    found = translate(psycopg.errors.lookup(state)("words that may quote a row"), "doing it")
    assert type(found) is (BY_STATE.get(state) or BY_CLASS.get(state[:2], StatementError))
    assert str(found).startswith("doing it: ") and state in str(found)
    assert "words that may quote a row" not in str(found)
