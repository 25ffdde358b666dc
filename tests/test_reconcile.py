"""Comparison of two databases: every kind of difference is found, named, and cheap to find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

from sinew.compile.business_sql import Check, Through
from sinew.compile.compare import Comparison, Difference, Side
from sinew.compile.facts import PgType
from sinew.compile.hashing import Hashed, HashMode, row_hash
from sinew.compile.rejected_sql import RejectedRows
from sinew.engine.business import run_business_check
from sinew.engine.reconcile import compare_target
from sinew.engine.segments import compare_sides
from sinew.engine.session import Endpoint, connect
from sinew.errors import ConfigurationError

ROWS = 200_000
TYPES = {
    "int4": PgType("integer", "int4", category="N"),
    "text": PgType("text", "text", category="S"),
    "uuid": PgType("uuid", "uuid"),
    "date": PgType("date", "date", category="D"),
    "numeric": PgType("numeric(10,2)", "numeric", category="N", modifier=(10 << 16 | 2) + 4),
}
Kinds = dict[str, set[tuple[str | None, ...]]]
MODES: list[HashMode] = ["fast", "text"]

MAKE = """
CREATE TABLE {schema}.line AS
SELECT g AS number,
       g / 50 AS head,
       'key ' || md5(g::text) AS code,
       md5(g::text)::uuid AS ident,
       date '1000-01-01' + g AS day,
       CASE WHEN g % 11 = 0 THEN NULL ELSE 'name ' || g % 977 END AS name,
       CASE WHEN g % 13 = 0 THEN '' ELSE 'place ' || g % 31 END AS place,
       (g % 10007 / 100.0)::numeric(10,2) AS amount
FROM generate_series(1, {rows}) AS g
"""


@dataclass(frozen=True)
class Shape:
    """Which columns are the key of a comparison."""

    columns: tuple[str, ...]
    types: tuple[str, ...]


SHAPES = {
    "an integer key": Shape(("number",), ("int4",)),
    "a text key": Shape(("code",), ("text",)),
    "a uuid key": Shape(("ident",), ("uuid",)),
    "a date key": Shape(("day",), ("date",)),
    "a composite key": Shape(("head", "code"), ("int4", "text")),
    "no key": Shape((), ()),
}


def make_lines(conn: psycopg.Connection, rows: int = ROWS) -> None:
    conn.execute(sql.SQL(MAKE).format(schema=sql.Identifier("public"), rows=sql.Literal(rows)))


def side_of(shape: Shape, mode: HashMode, table: str = "line") -> Side:
    hashed = [
        ("number", "int4"),
        ("head", "int4"),
        ("code", "text"),
        ("ident", "uuid"),
        ("day", "date"),
        ("name", "text"),
        ("place", "text"),
        ("amount", "numeric"),
    ]
    return Side(
        sql.SQL("{} AS r").format(sql.Identifier("public", table)),
        tuple(key_of(name, type_) for name, type_ in zip(shape.columns, shape.types, strict=True)),
        tuple(TYPES[name] for name in shape.types),
        row_hash([Hashed(sql.Identifier("r", name), TYPES[type_]) for name, type_ in hashed], mode),
    )


def key_of(name: str, type_: str) -> sql.Composable:
    column = sql.Identifier("r", name)
    return sql.SQL('{} COLLATE "C"').format(column) if type_ == "text" else column


def keys_of(conn: psycopg.Connection, side: Side, where: str) -> list[tuple[str, ...]]:
    keys = side.key or (side.hash,)
    names = sql.SQL(", ").join(sql.SQL("({})::text").format(key) for key in keys)
    found = conn.execute(
        sql.SQL("SELECT {} FROM {} WHERE {}").format(names, side.relation, sql.SQL(where))
    )
    return found.fetchall()


def by_kind(comparison: Comparison) -> Kinds:
    kinds: Kinds = {"missing": set(), "extra": set(), "changed": set()}
    for difference in comparison.differences:
        kinds[difference.kind].add(difference.key)
    return kinds


def fresh_database(server, name: str) -> psycopg.Connection:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return connect(Endpoint(name, server.dsn(name)))


@pytest.fixture(scope="module")
def pair(pg):
    """Two databases with the same 200,000 lines; each test changes the second and rolls back."""
    source, home = (fresh_database(pg, name) for name in ("lines_source", "lines_home"))
    for conn in (source, home):
        make_lines(conn)
    with source, home:
        yield source, home


@dataclass(frozen=True)
class Damage:
    """What is done to the second side: the lines it touches, the kind of difference it makes."""

    statements: tuple[str, ...]
    numbers: tuple[int, ...]
    kind: str = "changed"


SWAP = """
UPDATE line AS x SET {columns} FROM line AS y
WHERE x.number IN ({one}, {other}) AND y.number IN ({one}, {other}) AND x.number <> y.number
"""
DAMAGES = {
    "a missing row": Damage(("DELETE FROM line WHERE number = 77777",), (77777,), "missing"),
    "the first row missing": Damage(("DELETE FROM line WHERE number = 1",), (1,), "missing"),
    "an extra row": Damage(
        (
            "INSERT INTO line SELECT 0, 0, 'a', gen_random_uuid(), '0900-01-01', name, place, "
            "amount FROM line WHERE number = 5",
        ),
        (0,),
        "extra",
    ),
    "one changed column in one row": Damage(
        ("UPDATE line SET amount = amount + 0.01 WHERE number = 123456",), (123456,)
    ),
    "a swapped pair": Damage(
        (
            SWAP.format(
                columns="name = y.name, place = y.place, amount = y.amount", one=1234, other=180000
            ),
        ),
        (1234, 180000),
    ),
    "NULL turned into an empty text": Damage(
        ("UPDATE line SET name = '' WHERE number = 110",), (110,)
    ),
    "one column swapped between two rows of a range": Damage(
        (SWAP.format(columns="name = y.name", one=50001, other=50002),), (50001, 50002)
    ),
}


def harm(conn: psycopg.Connection, damage: Damage) -> None:
    conn.execute("SET LOCAL search_path = public")
    for statement in damage.statements:
        conn.execute(statement)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_damage_is_found_and_named(pair, damage: Damage, mode: HashMode) -> None:
    source, home = pair
    side = side_of(SHAPES["an integer key"], mode)
    with home.transaction(force_rollback=True):
        harm(home, damage)
        found = compare_sides(source, side, home, side)
        assert by_kind(found) == wanted(source, home, side, [damage])
    assert not found.equal and found.complete
    assert found.rows_transferred <= 2500 * len(damage.numbers)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_all_damage_at_once_is_told_apart(pair, shape: Shape, mode: HashMode) -> None:
    source, home = pair
    side = side_of(shape, mode)
    damages = list(DAMAGES.values())
    with home.transaction(force_rollback=True):
        for damage in damages:
            harm(home, damage)
        found = compare_sides(source, side, home, side)
        assert by_kind(found) == wanted(source, home, side, damages)
    touched = sum(len(damage.numbers) for damage in damages)
    assert found.rows_transferred <= 2 * 2500 * touched


def wanted(source, home, side: Side, damages: list[Damage]) -> Kinds:
    kinds: Kinds = {"missing": set(), "extra": set(), "changed": set()}
    for damage in damages:
        where = f"r.number IN ({', '.join(map(str, damage.numbers))})"
        before, after = set(keys_of(source, side, where)), set(keys_of(home, side, where))
        if side.key:
            kinds[damage.kind] |= before | after
        else:
            # A row without a key is told by its hash: changed, it is another row.
            kinds["missing"] |= before - after
            kinds["extra"] |= after - before
    return kinds


def test_one_changed_row_among_two_hundred_thousand_moves_few_keys(pair) -> None:
    source, home = pair
    side = side_of(SHAPES["an integer key"], "fast")
    with home.transaction(force_rollback=True):
        home.execute("UPDATE public.line SET name = 'other' WHERE number = 99999")
        found = compare_sides(source, side, home, side)
    assert found.differences == (Difference("changed", ("99999",)),)
    assert found.rows_transferred < 2500
    assert found.queries < 12


def test_equal_sides_are_told_by_one_question_each(pair) -> None:
    source, home = pair
    side = side_of(SHAPES["a composite key"], "fast")
    found = compare_sides(source, side, home, side)
    assert found.equal and found.count_a == found.count_b == ROWS
    assert (found.queries, found.rows_transferred) == (2, 0)


def test_scattered_differences_are_all_found(pair) -> None:
    source, home = pair
    side = side_of(SHAPES["a text key"], "fast")
    with home.transaction(force_rollback=True):
        home.execute("UPDATE public.line SET place = 'x' WHERE number % 1000 = 7")
        home.execute("DELETE FROM public.line WHERE number % 1000 = 8")
        kinds = by_kind(compare_sides(source, side, home, side))
    assert kinds["changed"] == set(keys_of(source, side, "r.number % 1000 = 7"))
    assert kinds["missing"] == set(keys_of(source, side, "r.number % 1000 = 8"))
    assert not kinds["extra"]


def test_a_comparison_stops_at_the_number_of_differences_asked_for_and_says_so(pair) -> None:
    source, home = pair
    side = side_of(SHAPES["a uuid key"], "fast")
    with home.transaction(force_rollback=True):
        home.execute("UPDATE public.line SET place = 'x'")
        found = compare_sides(source, side, home, side, max_differences=50)
    assert len(found.differences) == 50
    assert not found.complete and not found.equal
    assert found.rows_transferred < 20_000


def test_an_empty_side_names_rows_without_moving_the_table(pair) -> None:
    source, home = pair
    side = side_of(SHAPES["a date key"], "fast")
    with home.transaction(force_rollback=True):
        home.execute("TRUNCATE public.line")
        found = compare_sides(source, side, home, side, max_differences=10)
    assert {d.kind for d in found.differences} == {"missing"}
    assert (found.count_a, found.count_b, len(found.differences)) == (ROWS, 0, 10)
    assert found.rows_transferred < 100


def test_only_rows_of_the_predicate_are_compared(pair) -> None:
    source, home = pair
    side = side_of(SHAPES["an integer key"], "fast")
    half = replace(side, where=sql.SQL("r.number > 100000"))
    with home.transaction(force_rollback=True):
        home.execute("DELETE FROM public.line WHERE number = 5 OR number = 150000")
        found = compare_sides(source, half, home, half)
    assert found.differences == (Difference("missing", ("150000",)),)


@pytest.fixture
def small(source, home):
    """Two databases with a small table of loose rows."""
    for conn in (source, home):
        conn.execute("CREATE TABLE public.loose (k int, v text)")
        conn.execute("INSERT INTO public.loose SELECT g, 'v' || g FROM generate_series(1, 5000) g")
    return source, home


def loose_side(*, keyed: bool = True) -> Side:
    value = [
        Hashed(sql.SQL("r.k"), TYPES["int4"]),
        Hashed(sql.SQL("r.v"), TYPES["text"]),
    ]
    key = (sql.SQL("r.k"),) if keyed else ()
    types = (TYPES["int4"],) if keyed else ()
    return Side(sql.SQL("public.loose AS r"), key, types, row_hash(value, "fast"))


def test_rows_whose_key_is_null_are_compared_too(small) -> None:
    source, home = small
    source.execute("INSERT INTO public.loose VALUES (NULL, 'lost'), (NULL, 'kept')")
    home.execute("INSERT INTO public.loose VALUES (NULL, 'kept'), (7777, 'new')")
    found = compare_sides(source, loose_side(), home, loose_side(), threshold=100)
    assert by_kind(found) == {"missing": {(None,)}, "extra": {("7777",)}, "changed": set()}


def test_a_key_that_is_there_twice_counts_as_two_rows(small) -> None:
    source, home = small
    source.execute("INSERT INTO public.loose VALUES (40, 'v40')")
    found = compare_sides(source, loose_side(), home, loose_side(), threshold=100)
    assert found.differences == (Difference("missing", ("40",)),)


def test_a_range_of_equal_keys_that_cannot_be_cut_is_fetched(small) -> None:
    source, home = small
    for conn in (source, home):
        conn.execute("INSERT INTO public.loose SELECT 42, 'w' || g FROM generate_series(1, 5000) g")
    home.execute("UPDATE public.loose SET v = 'changed' WHERE k = 42 AND v = 'w17'")
    found = compare_sides(source, loose_side(), home, loose_side(), threshold=100)
    assert found.differences == (Difference("changed", ("42",)),)


def test_copies_of_a_row_without_a_key_are_counted(small) -> None:
    source, home = small
    source.execute("INSERT INTO public.loose SELECT 1, 'v1' FROM generate_series(1, 9)")
    home.execute("INSERT INTO public.loose SELECT 2, 'v2' FROM generate_series(1, 4000)")
    side = loose_side(keyed=False)
    found = compare_sides(source, side, home, side, threshold=100)
    assert {(d.kind, d.times) for d in found.differences} == {("missing", 9), ("extra", 4000)}


def test_keys_outside_what_either_side_knew_before_are_found(small) -> None:
    source, home = small
    source.execute("INSERT INTO public.loose VALUES (-2147483648, 'low'), (2147483647, 'high')")
    found = compare_sides(source, loose_side(), home, loose_side(), threshold=100)
    assert by_kind(found)["missing"] == {("-2147483648",), ("2147483647",)}


# --- row ledger against target


@pytest.fixture
def loaded(home):
    """A target of 20,000 rows, two kept from before, and the ledger that answers for them."""
    home.execute("CREATE SCHEMA sinew_rows")
    home.execute(
        "CREATE TABLE public.client AS SELECT md5(g::text)::uuid AS id, 'name ' || g AS name "
        "FROM generate_series(1, 20000) AS g"
    )
    home.execute(
        sql.SQL(
            "CREATE TABLE sinew_rows.shop__client AS SELECT g AS k1, md5(g::text)::uuid AS t1, "
            "CASE WHEN g > 19998 THEN 'kept' ELSE 'live' END AS state, {} AS target_hash "
            "FROM generate_series(1, 20000) AS g "
            "JOIN public.client AS r ON r.id = md5(g::text)::uuid"
        ).format(CLIENT_HASH)
    )
    return home


CLIENT_HASH = row_hash(
    [Hashed(sql.SQL("r.id"), TYPES["uuid"]), Hashed(sql.SQL("r.name"), TYPES["text"])], "fast"
)


def check_clients(home, *, key=(("t1", "id"),), exclusive: bool = True, **more) -> Comparison:
    ledger = sql.Identifier("sinew_rows", "shop__client")
    target = sql.Identifier("public", "client")
    return compare_target(home, ledger, target, key, CLIENT_HASH, exclusive=exclusive, **more)


def uuid_of(home, number: int) -> tuple[str]:
    return home.execute("SELECT md5(%s::text)::uuid::text", (number,)).fetchone()


def test_a_target_as_it_was_loaded_is_equal(loaded) -> None:
    found = check_clients(loaded)
    assert found.equal and found.count_a == found.count_b == 20_000


def test_each_kind_of_damage_in_the_target_is_named(loaded) -> None:
    loaded.execute("DELETE FROM public.client WHERE name = 'name 7'")
    loaded.execute("UPDATE public.client SET name = '' WHERE name = 'name 8'")
    loaded.execute("INSERT INTO public.client VALUES (md5('x')::uuid, 'nobody knows')")
    found = check_clients(loaded)
    assert by_kind(found) == {
        "missing": {uuid_of(loaded, 7)},
        "changed": {uuid_of(loaded, 8)},
        "extra": {("9dd4e461-268c-8034-f5c8-564e155c67a6",)},
    }
    assert not found.equal


def test_a_row_that_was_kept_may_change_but_not_vanish(loaded) -> None:
    loaded.execute("UPDATE public.client SET name = 'other' WHERE name = 'name 19999'")
    assert check_clients(loaded).equal
    loaded.execute("DELETE FROM public.client WHERE name = 'name 20000'")
    assert by_kind(check_clients(loaded))["missing"] == {uuid_of(loaded, 20000)}


def test_other_rows_are_no_difference_where_the_target_is_shared_with_strangers(loaded) -> None:
    loaded.execute("INSERT INTO public.client VALUES (md5('x')::uuid, 'nobody knows')")
    found = check_clients(loaded, exclusive=False)
    assert found.equal and found.count_b == 20_000


def test_a_row_that_another_entity_of_the_mapping_loaded_is_not_extra(loaded) -> None:
    loaded.execute("INSERT INTO public.client VALUES (md5('x')::uuid, 'of the other entity')")
    loaded.execute(
        "CREATE TABLE sinew_rows.shop__other AS "
        "SELECT 1 AS k1, md5('x')::uuid AS t1, 'live' AS state, 0::bigint AS target_hash"
    )
    assert not check_clients(loaded).equal
    assert check_clients(loaded, sharing=[sql.Identifier("sinew_rows", "shop__other")]).equal


def test_two_target_rows_that_swapped_their_names_are_both_named(loaded) -> None:
    loaded.execute(
        "UPDATE public.client SET name = CASE name WHEN 'name 1' THEN 'name 2' ELSE 'name 1' END "
        "WHERE name IN ('name 1', 'name 2')"
    )
    wanted = {uuid_of(loaded, 1), uuid_of(loaded, 2)}
    assert by_kind(check_clients(loaded))["changed"] == wanted


def test_a_target_without_a_key_is_compared_as_a_multiset(loaded) -> None:
    loaded.execute("UPDATE sinew_rows.shop__client SET state = 'live'")
    assert check_clients(loaded, key=()).equal
    loaded.execute("INSERT INTO public.client SELECT * FROM public.client WHERE name = 'name 3'")
    loaded.execute("DELETE FROM public.client WHERE name = 'name 4'")
    found = check_clients(loaded, key=())
    assert sorted((d.kind, d.times) for d in found.differences) == [("extra", 1), ("missing", 1)]


def test_more_differences_than_asked_for_are_counted_as_incomplete(loaded) -> None:
    loaded.execute("TRUNCATE public.client")
    found = check_clients(loaded, max_differences=5)
    assert (len(found.differences), found.complete, found.count_b) == (5, False, 0)


# --- business checks


SHOP = """
CREATE TABLE {0}.household (number int PRIMARY KEY, name text); CREATE TABLE {0}.line (number
bigint PRIMARY KEY, household int, cents text); INSERT INTO {0}.household SELECT g, 'name ' || g
FROM generate_series(1, 500) AS g; INSERT INTO {0}.line SELECT g, g % 500 + 1, (g * 7 %
1000)::text FROM generate_series(1, 20000) AS g;
"""
ASKED = (
    "SELECT household AS customer, sum(CASE WHEN cents ~ '^[0-9]+$' THEN cents::numeric / 100 END) "
    "AS lifetime_value FROM line GROUP BY household"
)
ANSWERED = (
    "SELECT customer_id AS customer, sum(amount) AS lifetime_value FROM sale GROUP BY customer_id;"
)


@pytest.fixture
def shop(source, home):
    """A source of households and lines; a home where all of it has arrived under uuid keys."""
    source.execute(SHOP.format("public"))
    home.execute("CREATE SCHEMA sinew; CREATE SCHEMA sinew_rows")
    home.execute(
        "CREATE TABLE sinew.reject (batch_id bigint, mapping text, entity text, source_key jsonb, "
        "scope text, column_name text, rule text, reason text)"
    )
    home.execute(
        "CREATE TABLE sinew_rows.shop__customers AS SELECT g AS k1, md5(g::text)::uuid AS t1, "
        "'live' AS state FROM generate_series(1, 500) AS g"
    )
    home.execute(
        "CREATE TABLE sinew_rows.shop__lines AS SELECT g AS k1, 'live' AS state "
        "FROM generate_series(1::bigint, 20000) AS g"
    )
    home.execute(
        "CREATE TABLE public.sale AS SELECT md5((g % 500 + 1)::text)::uuid AS customer_id, "
        "g AS number, (g * 7 % 1000)::numeric / 100 AS amount FROM generate_series(1, 20000) AS g"
    )
    return source, home


def lifetime_value(**more) -> Check:
    check = Check(
        "lifetime value of every customer",
        ASKED,
        ANSWERED,
        ("customer",),
        through=Through(sql.Identifier("sinew_rows", "shop__customers")),
    )
    return replace(check, **more)


def rejected_lines(amount: str) -> RejectedRows:
    return RejectedRows(
        "shop",
        "lines",
        sql.SQL("line AS r"),
        (("LINE_NO", sql.SQL("r.number"), PgType("bigint", "int8", category="N")),),
        {"customer": sql.SQL("r.household")},
        {"lifetime_value": sql.SQL(amount)},
    )


def reject_line(home, number: int) -> None:
    home.execute("UPDATE sinew_rows.shop__lines SET state = 'rejected' WHERE k1 = %s", (number,))
    home.execute("DELETE FROM public.sale WHERE number = %s", (number,))
    home.execute(
        "INSERT INTO sinew.reject VALUES (1, 'shop', 'lines', "
        "jsonb_build_object('LINE_NO', %s::text), 'row', 'amount', 'check', 'is out of range')",
        (number,),
    )


def test_answers_that_agree_are_equal_through_the_crosswalk(shop) -> None:
    result = run_business_check(*shop, lifetime_value())
    assert result.equal and result.asked == result.answered == 500
    assert result.columns == ("lifetime_value",)
    assert result.totals[0].source == result.totals[0].target


def test_a_cent_too_much_is_a_difference_of_that_customer(shop) -> None:
    source, home = shop
    home.execute("UPDATE public.sale SET amount = amount + 0.01 WHERE number = 499")
    result = run_business_check(source, home, lifetime_value())
    (difference,) = result.differences
    assert not result.equal and result.difference_count == 1
    assert difference.key == uuid_of(home, 500)
    assert Decimal(difference.target) - Decimal(difference.source) == Decimal("0.01")


def test_a_difference_within_the_tolerance_is_none(shop) -> None:
    source, home = shop
    home.execute("UPDATE public.sale SET amount = amount + 0.01 WHERE number = 499")
    assert run_business_check(source, home, lifetime_value(tolerance=Decimal("0.01"))).equal


def test_rejected_rows_are_taken_off_and_listed_one_by_one(shop) -> None:
    source, home = shop
    for number in (10, 510, 77):
        reject_line(home, number)
    assert not run_business_check(source, home, lifetime_value()).equal
    check = lifetime_value(rejected=rejected_lines("r.cents::numeric / 100"))
    result = run_business_check(source, home, check)
    assert result.equal, result.differences
    amounts = [Decimal(r.amounts["lifetime_value"] or 0) for r in result.rejected]
    listed = [(r.source_key, r.key) for r in result.rejected]
    assert {(*row, amount) for row, amount in zip(listed, amounts, strict=True)} == {
        (("10",), ("11",), Decimal("0.70")),
        (("77",), ("78",), Decimal("5.39")),
        (("510",), ("11",), Decimal("5.70")),
    }
    assert {r.reason for r in result.rejected} == {"is out of range"}
    assert Decimal(result.totals[0].rejected) == Decimal("11.79")


def test_a_rejected_row_that_was_mended_since_is_not_taken_off(shop) -> None:
    source, home = shop
    reject_line(home, 10)
    home.execute("UPDATE sinew_rows.shop__lines SET state = 'live' WHERE k1 = 10")
    home.execute("INSERT INTO public.sale VALUES (md5('11')::uuid, 10, 0.70)")
    result = run_business_check(
        source, home, lifetime_value(rejected=rejected_lines("r.cents::numeric / 100"))
    )
    assert result.equal and not result.rejected


def test_an_amount_that_cannot_be_computed_is_listed_without_a_number(shop) -> None:
    source, home = shop
    source.execute("UPDATE public.line SET cents = '12a' WHERE number = 10")
    for number in (10, 11, 12):
        reject_line(home, number)
    check = lifetime_value(rejected=rejected_lines("r.cents::numeric / 100"))
    result = run_business_check(source, home, check)
    amounts = {r.source_key[0]: r.amounts["lifetime_value"] for r in result.rejected}
    assert amounts["10"] is None and Decimal(amounts["11"]) == Decimal("0.77")
    assert result.equal and result.rejected_count == 3


def test_a_customer_of_whom_everything_was_rejected_need_not_be_in_the_target(shop) -> None:
    source, home = shop
    source.execute("INSERT INTO public.household VALUES (501, 'unlucky')")
    source.execute("INSERT INTO public.line VALUES (20001, 501, '500')")
    home.execute("INSERT INTO sinew_rows.shop__customers VALUES (501, md5('501')::uuid, 'live')")
    home.execute("INSERT INTO sinew_rows.shop__lines VALUES (20001, 'live')")
    assert [d.kind for d in run_business_check(source, home, lifetime_value()).differences] == [
        "missing"
    ]
    reject_line(home, 20001)
    check = lifetime_value(rejected=rejected_lines("r.cents::numeric / 100"))
    assert run_business_check(source, home, check).equal


def test_rows_that_are_not_live_are_not_asked_about(shop) -> None:
    source, home = shop
    home.execute("UPDATE sinew_rows.shop__customers SET state = 'rejected' WHERE k1 = 40")
    home.execute("DELETE FROM public.sale WHERE customer_id = md5('40')::uuid")
    home.execute("INSERT INTO public.sale VALUES (gen_random_uuid(), 1, 5)")
    result = run_business_check(source, home, lifetime_value())
    assert result.equal
    assert (result.asked, result.source_rows, result.target_rows) == (499, 500, 500)


def test_null_is_not_nought_and_null_is_null(shop) -> None:
    check = Check(
        "nulls",
        "SELECT * FROM (VALUES (1, NULL::int), (2, NULL), (NULL, 3)) AS v (k, amount)",
        "SELECT * FROM (VALUES (1.0, NULL::int), (2.00, 0), (NULL, 3)) AS v (k, amount)",
        ("k",),
    )
    result = run_business_check(*shop, check)
    assert [(d.key, d.source, d.target) for d in result.differences] == [(("2",), None, "0")]


def test_equal_values_of_different_types_agree(shop) -> None:
    check = Check(
        "types",
        "SELECT 1::int AS k, date '2024-02-29' AS d, 1.50::numeric AS n, 'a'::char(3) AS t",
        "SELECT 1::numeric AS k, timestamp '2024-02-29 00:00' AS d, 1.5::float8 AS n, 'a' AS t",
        ("k",),
    )
    assert run_business_check(*shop, check).equal


def test_only_so_many_differences_are_listed_but_all_are_counted(shop) -> None:
    source, home = shop
    home.execute("UPDATE public.sale SET amount = amount + 1")
    result = run_business_check(source, home, lifetime_value(), max_differences=7)
    assert (len(result.differences), result.difference_count) == (7, 500)


@pytest.mark.parametrize(
    ("source_sql", "wanted"),
    [
        ("SELECT 1 AS other, 2 AS lifetime_value", "lacks the column customer"),
        ("SELECT 1 AS customer, 2 AS value", "nothing to compare"),
        ("SELECT 1 AS customer, 2 AS lifetime_value UNION ALL SELECT 1, 3", "more than once"),
    ],
)
def test_answers_that_cannot_be_compared_are_refused(shop, source_sql: str, wanted: str) -> None:
    with pytest.raises(ConfigurationError, match=wanted):
        run_business_check(*shop, lifetime_value(source=source_sql))


def test_nothing_of_a_business_check_stays_behind(shop) -> None:
    source, home = shop
    before = home.execute("SELECT current_setting('search_path')").fetchone()
    run_business_check(source, home, lifetime_value(rejected=rejected_lines("1")))
    assert home.execute("SELECT current_setting('search_path')").fetchone() == before
    left = home.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'sinew_%'").fetchone()
    assert left == (0,)


def test_copies_of_a_rejected_row_without_a_key_are_each_taken_off(shop) -> None:
    source, home = shop
    row = "hashint8(r.household)"
    source.execute("CREATE TABLE public.tip (household int, cents text)")
    source.execute("INSERT INTO public.tip VALUES (7, '150'), (7, '150'), (8, '99')")
    home.execute(
        "CREATE TABLE sinew_rows.shop__tips AS SELECT hashint8(7)::bigint AS k1, n AS k2, "
        "'rejected' AS state FROM generate_series(1, 2) AS n"
    )
    home.execute(
        "INSERT INTO sinew.reject SELECT 1, 'shop', 'tips', jsonb_build_object('sinew_hash', "
        "k1::text, 'sinew_ordinal', k2::text), 'row', 'cents', 'check', 'no' "
        "FROM sinew_rows.shop__tips"
    )
    check = Check(
        "tips",
        "SELECT household, sum(cents::numeric) AS cents FROM tip GROUP BY household",
        "SELECT 8 AS household, 99 AS cents",
        ("household",),
        rejected=RejectedRows(
            "shop",
            "tips",
            sql.SQL("tip AS r"),
            (("sinew_hash", sql.SQL(row), PgType("bigint", "int8", category="N")),),
            {"household": sql.SQL("r.household")},
            {"cents": sql.SQL("r.cents")},
        ),
    )
    result = run_business_check(source, home, check)
    assert result.equal, result.differences
    assert [r.amounts["cents"] for r in result.rejected] == ["150", "150"]
