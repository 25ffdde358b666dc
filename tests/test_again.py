"""A second run after the source or the mapping changed: it ends where a first run would have, and what is done stays done."""

from __future__ import annotations

import pytest

from sinew.engine.planner import plan_phase, prepare
from sinew.engine.steps import run_step
from sinew.errors import ConstraintError
from tests.fix_pair import Pair

SOURCE = """
CREATE TABLE c (id integer PRIMARY KEY, name text, kind text);
CREATE TABLE o (id integer PRIMARY KEY, c_id integer, v text);
INSERT INTO c SELECT n, 'n' || n, CASE WHEN n <= 10 THEN 'p' ELSE 'k' END FROM generate_series(1, 40) AS n;
INSERT INTO o SELECT n, 1 + n % 40, 'v' FROM generate_series(1, 120) AS n;
"""
TARGET = """
CREATE TABLE t.c (id integer PRIMARY KEY, name text, kind text NOT NULL);
CREATE TABLE t.o (id integer PRIMARY KEY, c_id integer REFERENCES t.c {foreign_key}, v text);
"""
PHASES = """cohort: {root: c}
phases:
  - {name: pilot, where: "kind = 'p'"}
  - {name: rest}
"""
MAPPING = """
entities:
  c:
    from: c
    key: [id]
    columns: {id: {key: copy}, name: {from: name}, kind: {from: kind}}
  o:
    from: o
    key: [id]
    columns: {id: {key: copy}, c_id: {ref: c, by: c_id, on_error: reject}, v: {from: v}}
"""


@pytest.fixture
def moved(pair: Pair) -> Pair:
    """Forty customers with three orders each, all moved, ten of them first."""
    pair.make(SOURCE, TARGET.format(foreign_key=""), PHASES + MAPPING)
    pair.run()
    return pair


def same(pair: Pair) -> bool:
    """Whether both sides hold the same rows, and another run would move nothing."""
    queries = [("c", "id, name, kind"), ("o", "id, c_id, v")]
    rows = [
        pair.old(f"SELECT {columns} FROM {table} ORDER BY 1")
        == pair.new(f"SELECT {columns} FROM t.{table} ORDER BY 1")
        for table, columns in queries
    ]
    return all(rows) and pair.run().batches == 0


class TestRowsThatVanish:
    @pytest.mark.parametrize(
        "foreign_key", ["", "ON DELETE CASCADE", "DEFERRABLE INITIALLY DEFERRED"]
    )
    def test_parents_go_with_their_children(self, pair: Pair, foreign_key: str) -> None:
        pair.make(SOURCE, TARGET.format(foreign_key=foreign_key), PHASES + MAPPING)
        pair.run()
        pair.old("DELETE FROM o WHERE c_id IN (5, 25); DELETE FROM c WHERE id IN (5, 25)")
        pair.run()
        assert same(pair)
        assert pair.new("SELECT count(*) FROM t.c") == [(38,)]

    def test_a_parent_whose_children_stay_is_told_and_stays(self, moved: Pair) -> None:
        moved.old("DELETE FROM c WHERE id = 25")
        with pytest.raises(ConstraintError, match="settle pair phase rest: .*o_c_id_fkey"):
            moved.run()
        assert moved.new("SELECT id FROM t.c WHERE id = 25") == [(25,)]
        moved.old("DELETE FROM o WHERE c_id = 25")
        moved.run()
        assert same(moved)

    def test_a_row_that_comes_back_is_there_again(self, moved: Pair) -> None:
        moved.old(
            "CREATE TABLE away AS SELECT * FROM o WHERE c_id = 5; DELETE FROM o WHERE c_id = 5"
        )
        moved.run()
        moved.old("INSERT INTO o SELECT * FROM away; DROP TABLE away")
        moved.run()
        assert same(moved)

    def test_a_row_that_takes_the_key_of_one_that_vanished_stays(self, pair: Pair) -> None:
        mapping = MAPPING.replace(
            "id: {key: copy}, name",
            "id: {key: copy, do: [{replace: {pattern: 'x', with: ''}}, {cast: integer}]}, name",
        )
        pair.make(
            SOURCE.replace("c (id integer", "c (id text").replace("c_id integer", "c_id text"),
            TARGET.format(foreign_key=""),
            mapping,
        )
        pair.run()
        pair.old("UPDATE o SET c_id = 'x5' WHERE c_id = '5'; UPDATE c SET id = 'x5' WHERE id = '5'")
        pair.run()
        assert pair.new("SELECT count(*) FROM t.c WHERE id = 5") == [(1,)]
        assert pair.run().batches == 0


class TestRowsThatChangeTheirCohort:
    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE c SET kind = 'p' WHERE id = 30",
            "UPDATE c SET kind = 'k' WHERE id = 5",
            "UPDATE c SET kind = CASE kind WHEN 'p' THEN 'k' ELSE 'p' END",
            "UPDATE o SET c_id = 5 WHERE c_id = 30",
            "UPDATE o SET c_id = 30 WHERE c_id = 5",
        ],
    )
    def test_arrive_with_their_children(self, moved: Pair, change: str) -> None:
        moved.old(change)
        moved.run()
        assert same(moved)


class TestPhasesOfAnotherShape:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("pilot", "first"),
            ("kind = 'p'", "id <= 20"),
            ("kind = 'p'", "id <= 5"),
            ("  - {name: rest}", "  - {name: mid, where: 'id <= 30'}\n  - {name: rest}"),
            ("  - {name: pilot, where: \"kind = 'p'\"}\n", ""),
        ],
        ids=["renamed", "wider", "narrower", "one more", "one less"],
    )
    def test_the_next_run_goes_on_with_them(self, moved: Pair, before: str, after: str) -> None:
        assert before in moved.mapping
        moved.mapping = moved.mapping.replace(before, after)
        moved.old("UPDATE c SET name = 'changed' WHERE id = 3")
        moved.run()
        assert same(moved)
        assert moved.new("SELECT name FROM sinew.phase ORDER BY position, name") == [
            (phase.name,) for phase in moved.context().migration.phases
        ]


def test_a_run_that_was_cut_short_goes_on_where_it_stopped(pair: Pair) -> None:
    """More rows are still missing than a comparison names, and none of them is a difference."""
    pair.make(
        "CREATE TABLE a (x integer PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 3000)",
        "CREATE TABLE t.a (x integer PRIMARY KEY)",
        "batch: {rows: 1000}\nentities: {a: {from: a, key: [x], columns: {x: {key: copy}}}}",
    )
    prepare(pair.context())
    first, *others = plan_phase(pair.context(), "all")["a"]
    run_step(pair.context(), first, "validate")
    assert plan_phase(pair.context(), "all")["a"] == others
    pair.old("UPDATE a SET x = -1 WHERE x = 5")
    assert plan_phase(pair.context(), "all")["a"] == [first, *others]


class TestAValueThatWantsAParent:
    def test_is_filled_when_the_parent_was_mended(self, pair: Pair) -> None:
        pair.make(
            SOURCE + "UPDATE c SET kind = NULL WHERE id = 7",
            TARGET.format(foreign_key=""),
            MAPPING.replace("on_error: reject", "on_error: null"),
        )
        pair.run()
        assert pair.new("SELECT count(*) FROM t.o WHERE c_id IS NULL") == [(3,)]
        pair.old("UPDATE c SET kind = 'k' WHERE id = 7")
        pair.run()
        assert same(pair)


class TestRowsWithoutAKey:
    SOURCE = (
        "CREATE TABLE a (x integer, p boolean); INSERT INTO a SELECT n, n < 3 FROM generate_series(1, 5) AS n;"
        "INSERT INTO a VALUES (NULL, true), (NULL, false), (NULL, NULL);"
    )
    MAPPING = """
cohort: {root: a}
phases:
  - {name: pilot, where: "p"}
  - {name: rest}
entities: {a: {from: a, key: [x], max_rejects: 9, columns: {x: {key: copy}}}}
"""

    def rejected(self, pair: Pair) -> int:
        return pair.new("SELECT count(*) FROM sinew.reject WHERE rule = 'null_key'")[0][0]  # type: ignore[return-value]

    def test_are_rejected_once_whatever_phase_they_belong_to(self, pair: Pair) -> None:
        pair.make(self.SOURCE, "CREATE TABLE t.a (x integer PRIMARY KEY)", self.MAPPING)
        pair.run()
        assert self.rejected(pair) == 3

    def test_that_come_and_go_are_noticed(self, pair: Pair) -> None:
        source = self.SOURCE + "DELETE FROM a WHERE x IS NULL"
        pair.make(source, "CREATE TABLE t.a (x integer PRIMARY KEY)", self.MAPPING)
        pair.run()
        assert self.rejected(pair) == 0
        pair.old("INSERT INTO a VALUES (NULL, true), (NULL, NULL)")
        pair.run()
        assert self.rejected(pair) == 2
        pair.old("DELETE FROM a WHERE x IS NULL AND p")
        pair.run()
        assert self.rejected(pair) == 1
        assert pair.run().batches == 0
