"""Rows that the target has besides those of one entity: the target's own, another entity's, an earlier load's."""

from __future__ import annotations

import pytest

from sinew.errors import SpecError
from tests.fix_pair import Pair

PLAIN = """
entities:
  a:
    from: a
    existing: {existing}
    columns: {{x: {{from: x}}}}
"""

TWO_PLAIN = """
entities:
  a: {from: a, into: z, columns: {x: {from: x}}}
  b: {from: b, into: z, columns: {x: {from: x}}}
"""

PARENT_AND_CHILD = """
entities:
  c:
    from: c
    key: [id]
    existing: keep
    columns: {id: {key: copy}, name: {from: name}, kind: {from: kind}}
  o:
    from: o
    key: [id]
    columns: {id: {key: copy}, c_id: {ref: c, by: c_id}}
"""
PARENT_AND_CHILD_SOURCE = """
CREATE TABLE c (id integer PRIMARY KEY, name text, kind text);
CREATE TABLE o (id integer PRIMARY KEY, c_id integer);
INSERT INTO c SELECT n, 'name ' || n, 'k' FROM generate_series(1, 9) AS n;
INSERT INTO o SELECT n, n FROM generate_series(1, 9) AS n;
"""
PARENT_AND_CHILD_TARGET = """
CREATE TABLE t.c (id integer PRIMARY KEY, name text, kind text NOT NULL);
CREATE TABLE t.o (id integer PRIMARY KEY, c_id integer REFERENCES t.c);
INSERT INTO t.c VALUES (7, 'theirs', 'k');
"""


def xs(pair: Pair, table: str) -> list[object]:
    return [x for (x,) in pair.new(f"SELECT x FROM t.{table} ORDER BY x")]


class TestATableWithoutAKey:
    @pytest.mark.parametrize("existing", ["keep", "update"])
    def test_keeps_its_own_rows_whatever_is_loaded_and_loaded_again(
        self, pair: Pair, existing: str
    ) -> None:
        pair.make(
            "CREATE TABLE a (x integer); INSERT INTO a VALUES (1), (2), (2), (100)",
            "CREATE TABLE t.a (x integer); INSERT INTO t.a VALUES (100), (200)",
            PLAIN.format(existing=existing),
        )
        pair.run()
        assert xs(pair, "a") == [1, 2, 2, 100, 100, 200]
        pair.old("DELETE FROM a WHERE x = 2; INSERT INTO a VALUES (5)")
        pair.run()
        assert xs(pair, "a") == [1, 5, 100, 100, 200]
        assert pair.run().batches == 0

    def test_a_row_of_ours_that_is_gone_is_noticed_though_others_may_be_there(
        self, pair: Pair
    ) -> None:
        pair.make(
            "CREATE TABLE a (x integer); INSERT INTO a VALUES (1), (100)",
            "CREATE TABLE t.a (x integer); INSERT INTO t.a VALUES (200)",
            PLAIN.format(existing="keep"),
        )
        pair.run()
        pair.new("DELETE FROM t.a WHERE x = 1")
        assert pair.run().batches == 1
        assert xs(pair, "a") == [1, 100, 200]

    def test_of_two_entities_neither_deletes_the_others_rows(self, pair: Pair) -> None:
        pair.make(
            "CREATE TABLE a (x integer); INSERT INTO a VALUES (1), (2);"
            "CREATE TABLE b (x integer); INSERT INTO b VALUES (2), (3)",
            "CREATE TABLE t.z (x integer)",
            TWO_PLAIN,
        )
        pair.run()
        assert xs(pair, "z") == [1, 2, 2, 3]
        pair.old("UPDATE b SET x = 7 WHERE x = 2")
        pair.run()
        assert xs(pair, "z") == [1, 2, 3, 7]
        assert pair.run().batches == 0


class TestEntitiesThatShareATable:
    @pytest.mark.parametrize(
        ("before", "after", "told"),
        [
            ("b: {from: b, into: z,", "b: {from: b, into: z, target_key: [x],", "same one"),
            (
                "z, columns: {x: {from: x}}}\n\n",
                "z, columns: {x: {from: x}, w: {from: x}}}\n",
                "fill w",
            ),
        ],
    )
    def test_need_to_tell_rows_apart_alike(
        self, pair: Pair, before: str, after: str, told: str
    ) -> None:
        pair.mapping = (TWO_PLAIN + "\n").replace(before, after)
        with pytest.raises(SpecError, match=told):
            pair.context()


class TestExistingKeep:
    def make(self, pair: Pair) -> None:
        pair.make(PARENT_AND_CHILD_SOURCE, PARENT_AND_CHILD_TARGET, PARENT_AND_CHILD)
        pair.run()

    def test_a_row_of_ours_is_updated_in_its_place_though_children_refer_to_it(
        self, pair: Pair
    ) -> None:
        self.make(pair)
        pair.old("UPDATE c SET name = 'new' WHERE id IN (3, 7)")
        pair.run()
        assert pair.new("SELECT id, name FROM t.c WHERE id IN (3, 7) ORDER BY 1") == [
            (3, "new"),
            (7, "theirs"),
        ]
        assert pair.run().batches == 0

    def test_a_row_of_ours_that_was_rejected_and_mended_is_up_to_date(self, pair: Pair) -> None:
        self.make(pair)
        pair.old("UPDATE c SET kind = NULL WHERE id = 3")
        pair.run()
        assert pair.new("SELECT name FROM t.c WHERE id = 3") == [("name 3",)]
        pair.old("UPDATE c SET kind = 'k', name = 'new' WHERE id = 3")
        pair.run()
        assert pair.new("SELECT name FROM t.c WHERE id = 3") == [("new",)]

    def test_the_targets_own_row_survives_the_rejection_and_the_end_of_its_twin(
        self, pair: Pair
    ) -> None:
        self.make(pair)
        pair.old("UPDATE c SET kind = NULL WHERE id = 7")
        pair.run()
        assert pair.run().batches == 0
        pair.old("DELETE FROM o WHERE id = 7; DELETE FROM c WHERE id = 7")
        pair.run()
        assert pair.new("SELECT name FROM t.c WHERE id = 7") == [("theirs",)]
        assert pair.run().batches == 0


class TestATableOfNothingButAKey:
    def test_is_loaded_again_like_any_other(self, pair: Pair) -> None:
        pair.make(
            "CREATE TABLE a (x integer, z integer, PRIMARY KEY (x, z)); INSERT INTO a SELECT n, n FROM generate_series(1, 9) n",
            "CREATE TABLE t.a (x integer, z integer, PRIMARY KEY (x, z))",
            "entities: {a: {from: a, key: [x, z], columns: {x: {key: copy, from: x}, z: {key: copy, from: z}}}}",
        )
        pair.run()
        pair.old("INSERT INTO a VALUES (10, 10)")
        pair.run()
        assert pair.new("SELECT count(*) FROM t.a") == [(10,)]
        assert pair.run().batches == 0


class TestAnIdentityThatTheTargetAlwaysGives:
    def test_does_not_hinder_a_second_load(self, pair: Pair) -> None:
        pair.make(
            "CREATE TABLE a (id integer PRIMARY KEY, no integer, v text); INSERT INTO a VALUES (1, 10, 'x')",
            "CREATE TABLE t.a (id integer PRIMARY KEY, no integer GENERATED ALWAYS AS IDENTITY, v text)",
            "entities: {a: {from: a, key: [id], columns: {id: {key: copy}, no: {from: no}, v: {from: v}}}}",
        )
        pair.run()
        pair.old("UPDATE a SET v = 'y'")
        pair.run()
        assert pair.new("SELECT * FROM t.a") == [(1, 10, "y")]
