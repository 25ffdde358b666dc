"""Expressions that a mapping's author wrote."""

from __future__ import annotations

import psycopg
import pytest

from sinew.compile.expressions import check_expression, columns_of, qualify

QUALIFIED = [
    ('"SALES_VALUE"::numeric / 100', '"l"."SALES_VALUE"::numeric / 100', {"SALES_VALUE"}),
    ("Hshd_No % 20 = 0", '"l".Hshd_No % 20 = 0', {"hshd_no"}),
    ("t.x + Y", 't.x + "l".Y', {"y"}),
    ("user || current_date || X", 'user || current_date || "l".X', {"x"}),
    ("a IN (SELECT a FROM c WHERE d = e)", '"l".a IN (SELECT a FROM c WHERE d = e)', {"a"}),
    ("(point).x", '("l".point).x', {"point"}),
    ("shop.fn(x, y => z)", 'shop.fn("l".x, y => "l".z)', {"x", "z"}),
    ('x COLLATE "C"', '"l".x COLLATE "C"', {"x"}),
    ('x::"Mood"', '"l".x::"Mood"', {"x"}),
    ("extract(year from ts)", 'extract(year from "l".ts)', {"ts"}),
    ("'ä€' || \"a\"\"b\" || E'it\\'s x'", '\'ä€\' || "l"."a""b" || E\'it\\\'s x\'', {'a"b'}),
    ("x ->> 'a' ~* '^b'", "\"l\".x ->> 'a' ~* '^b'", {"x"}),
    ("é + ü", '"l".é + "l".ü', {"é", "ü"}),
    ("a -- why", '"l".a -- why\n', {"a"}),
    ("1 + 1", "1 + 1", set()),
]

BAD = [
    ("a; DROP TABLE x", "semicolon at line 1, column 2"),
    ("a;", "semicolon"),
    ("", "empty"),
    ("select 1", "a statement"),
    ("DELETE FROM x", "a statement that changes something"),
    (
        "(WITH q AS (DELETE FROM c RETURNING *) SELECT 1 FROM q)",
        "a statement that changes something",
    ),
    ("VACUUM", "a statement that changes something"),
    ("SET x = 1", "a statement that changes something"),
    ("a b", "an alias 'b'"),
    ("a +\n(b", "line 2, column 2"),
    ("'abc", "cannot be read"),
    ("sum(a)", "an aggregate"),
    ("jsonb_agg(a)", "an aggregate"),
    ("row_number() OVER ()", "a window function"),
    ("unnest(a)", "a set of rows"),
    ("jsonb_array_elements(a)", "a set of rows"),
    ("l.*", "a star"),
    ("$1", "a placeholder"),
]


@pytest.mark.parametrize(("text", "qualified", "columns"), QUALIFIED)
def test_columns_get_the_alias_and_nothing_else_changes(
    text: str, qualified: str, columns: set[str]
) -> None:
    check_expression(text)
    assert qualify(text, "l") == qualified
    assert columns_of(text) == columns


@pytest.mark.parametrize(("text", "what"), BAD)
def test_what_is_not_one_scalar_expression_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as error:
        check_expression(text)
    assert "line" in str(error.value) and "write one scalar" in str(error.value)


def test_an_alias_is_quoted() -> None:
    assert qualify("a", 'odd"one') == '"odd""one".a'


def test_the_qualified_expression_means_the_same_to_postgres(home: psycopg.Connection) -> None:
    home.execute('CREATE TEMP TABLE r ("SALES" text, hshd_no int, p point)')
    home.execute("INSERT INTO r VALUES ('1999', 40, '(1,2)')")
    for text, value in [
        ('"SALES"::numeric / 100', "19.9900000000000000"),
        ("HSHD_NO % 20 = 0", "true"),
        ("CASE WHEN hshd_no > 1 THEN (p)[0] END -- first", "1"),
        ("(SELECT max(hshd_no) FROM r)", "40"),
    ]:
        query = f"SELECT ({qualify(text, 'l')})::text FROM r AS l"
        assert home.execute(query.encode()).fetchone() == (value,)
