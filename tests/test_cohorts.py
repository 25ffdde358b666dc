"""Which phase a row moves in when it refers to the cohort's root in more ways than one, or has no key."""

from __future__ import annotations

import pytest

from tests.fix_pair import Pair

SOURCE = """
CREATE TABLE c (id integer PRIMARY KEY);
CREATE TABLE tr (id integer PRIMARY KEY, a integer NOT NULL, b integer);
CREATE TABLE part (tr_id integer, no integer, PRIMARY KEY (tr_id, no));
CREATE TABLE note (c_id integer, text text);
INSERT INTO c SELECT generate_series(1, 9);
INSERT INTO tr VALUES (1, 1, 2), (2, 1, 5), (3, 5, 1), (4, 5, 6), (5, 1, 9), (6, 9, 1), (7, 1, NULL);
INSERT INTO part SELECT id, 1 FROM tr;
INSERT INTO note SELECT id, 'note' FROM c;
"""
TARGET = """
CREATE TABLE t.c (id integer PRIMARY KEY);
CREATE TABLE t.tr (id integer PRIMARY KEY, a integer NOT NULL REFERENCES t.c, b integer REFERENCES t.c);
CREATE TABLE t.part (tr_id integer REFERENCES t.tr, no integer, PRIMARY KEY (tr_id, no));
CREATE TABLE t.note (c_id integer NOT NULL REFERENCES t.c, text text);
"""
MAPPING = """
cohort: {{root: c}}
phases:
  - {{name: first, where: "id <= 3"}}
  - {{name: second, where: "id <= 6"}}
  - {{name: rest}}
max_rejects: 0
entities:
  c: {{from: c, key: [id], columns: {{id: {{key: copy}}}}}}
  tr:
    from: tr
    key: [id]
    columns: {{id: {{key: copy}}, a: {{ref: c, by: a}}, b: {{ref: c, by: b, on_error: {on_error}}}}}
  part:
    from: part
    key: [tr_id, no]
    target_key: [tr_id, no]
    columns: {{tr_id: {{ref: tr, by: tr_id}}, no: {{from: no}}}}
  note:
    from: note
    columns: {{c_id: {{ref: c, by: c_id}}, text: {{from: text}}}}
"""


@pytest.fixture
def moved(pair: Pair, request: pytest.FixtureRequest) -> Pair:
    """Transfers between customers of three cohorts, all moved."""
    text = MAPPING.format(on_error=request.param)
    pair.make(SOURCE, TARGET, text.replace("max_rejects: 0\n", ""))
    pair.run()
    return pair


def phases(pair: Pair, entity: str) -> dict[str, list[object]]:
    rows = pair.new(
        f"SELECT b.phase, array_agg(w.k1 ORDER BY w.k1) FROM sinew_rows.pair__{entity} AS w "
        "JOIN sinew.batch AS b ON b.id = w.batch_id WHERE w.state = 'live' GROUP BY 1"
    )
    return dict(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("moved", ["reject"], indirect=True)
def test_a_row_moves_when_the_last_of_its_parents_does(moved: Pair) -> None:
    expected = {"first": [1, 7], "second": [2, 3, 4], "rest": [5, 6]}
    assert phases(moved, "tr") == expected
    assert phases(moved, "part") == expected
    assert moved.new("SELECT * FROM sinew.reject") == []


@pytest.mark.parametrize("moved", ["'null'"], indirect=True)
def test_a_reference_that_may_be_null_is_filled_when_its_parent_comes(moved: Pair) -> None:
    assert phases(moved, "tr") == {"first": [1, 2, 5, 7], "second": [3, 4], "rest": [6]}
    assert moved.new("SELECT * FROM t.tr ORDER BY 1") == moved.old("SELECT * FROM tr ORDER BY 1")
    assert moved.new("SELECT * FROM sinew.reject") == []
    assert moved.run().batches == 0


@pytest.mark.parametrize("moved", ["reject"], indirect=True)
def test_rows_without_a_key_move_once_in_the_last_phase(moved: Pair) -> None:
    assert moved.new("SELECT phase FROM sinew.batch WHERE entity = 'note'") == [("rest",)]
    assert moved.new("SELECT count(*) FROM t.note") == [(9,)]
    assert moved.run().batches == 0


@pytest.mark.parametrize("moved", ["'null'"], indirect=True)
def test_phases_may_come_and_go_after_all_has_moved(moved: Pair) -> None:
    whole = moved.mapping
    last = whole.index("entities:")
    for phases in (
        "",
        "cohort: {root: c}\nphases: [{name: odd, where: id % 2 = 1}, {name: rest}]\n",
    ):
        moved.mapping = phases + whole[last:]
        moved.old(
            "UPDATE tr SET b = a WHERE id = 3; INSERT INTO tr SELECT max(id) + 1, 1, 8 FROM tr"
        )
        moved.run()
        rows = "SELECT * FROM {}tr ORDER BY 1"
        assert moved.new(rows.format("t.")) == moved.old(rows.format(""))
        assert moved.run().batches == 0
