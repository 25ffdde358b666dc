"""A business question asked of both databases: the statements that bring both answers together.

The source's answer is copied into a temporary table of the home database, rejected amounts beside
it; there both answers are compared key by key, columns in a form that does not depend on their
types (1 and 1.00 are one value, a date and its midnight too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from psycopg import sql

from sinew.compile.expressions import without_semicolon
from sinew.compile.rejected_sql import LISTED, RejectedRows

_COMMA = sql.SQL(", ")
_AND = sql.SQL(" AND ")
ASKED = sql.Identifier("pg_temp", "sinew_asked")
ANSWERED = sql.Identifier("pg_temp", "sinew_answered")
COMPARED = sql.Identifier("pg_temp", "sinew_compared")


@dataclass(frozen=True)
class Through:
    """The row ledger that translates the source's key, k1 and on to t1 and on; live rows only."""

    ledger: sql.Composable
    columns: int = 1


@dataclass(frozen=True)
class Check:
    """A pair of SELECTs whose answers must agree: key by key, in every column that both have."""

    name: str
    source: str
    target: str
    key: tuple[str, ...]
    source_schema: str = "public"
    target_schema: str = "public"
    through: Through | None = None
    rejected: RejectedRows | None = None
    tolerance: Decimal = Decimal(0)


@dataclass(frozen=True)
class Answer:
    """The columns of an answer: name to (SQL type, N number, D day or time, T other)."""

    columns: dict[str, tuple[str, str]] = field(default_factory=dict)


def create_asked(answer: Answer) -> sql.Composed:
    """A temporary table for the source's answer."""
    return create_temp(ASKED, [(name, type_) for name, (type_, _) in answer.columns.items()])


def create_temp(table: sql.Identifier, columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """A temporary table with columns of the given names and types."""
    # The types are format_type()'s own output, which Postgres has quoted already.
    return sql.SQL("CREATE TEMP TABLE {} ({})").format(
        table,
        _COMMA.join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_ in columns
        ),
    )


def create_answered(check: Check) -> sql.Composed:
    """The target's answer as a temporary table."""
    return sql.SQL("CREATE TEMP TABLE {} AS SELECT * FROM ({}) AS answer").format(
        ANSWERED, sql.SQL(without_semicolon(check.target))
    )


def copy_answer(check: Check) -> sql.Composed:
    """The source's answer as COPY text."""
    return sql.SQL("COPY (SELECT * FROM ({}) AS answer) TO STDOUT").format(
        sql.SQL(without_semicolon(check.source))
    )


def columns_of_answer(statement: str) -> sql.Composed:
    """An empty result whose description tells the columns of a SELECT."""
    return sql.SQL("SELECT * FROM ({}) AS answer LIMIT 0").format(
        sql.SQL(without_semicolon(statement))
    )


# --- the comparison


@dataclass(frozen=True)
class Forms:
    """Both answers' columns in one form: what to join on and what to compare."""

    check: Check
    asked: Answer
    answered: Answer

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns that both answers have, besides the key."""
        return tuple(
            name
            for name in self.asked.columns
            if name in self.answered.columns and name not in self.check.key
        )

    def numeric(self, name: str) -> bool:
        """Whether a compared column is a number on both sides."""
        return self.asked.columns[name][1] == self.answered.columns[name][1] == "N"

    def form(self, value: sql.Composable, name: str) -> sql.Composed:
        """A value's text, the same for equal values of different types."""
        kinds = {self.asked.columns[name][1], self.answered.columns[name][1]}
        return text_form(value, kinds)


def text_form(value: sql.Composable, kinds: set[str]) -> sql.Composed:
    if kinds == {"N"}:
        return sql.SQL("trim_scale(({})::numeric)::text").format(value)
    if kinds == {"D"}:
        return sql.SQL("(({})::timestamptz)::text").format(value)
    return sql.SQL("({})::text").format(value)


def compared_rows(forms: Forms) -> sql.Composed:
    """A temporary table: a row a key, with both values of each column and what was rejected."""
    check = forms.check
    names = [sql.Identifier(f"x{i}") for i in range(len(check.key))]
    return sql.SQL(
        "CREATE TEMP TABLE {table} AS SELECT {keys}, a.here AS asked, b.here AS answered, "
        "{values} FROM ({asked}) AS a FULL JOIN ({answered}) AS b ON {same}"
    ).format(
        table=COMPARED,
        keys=_COMMA.join(sql.SQL("coalesce(a.{0}, b.{0}) AS {0}").format(name) for name in names),
        values=_COMMA.join(_values(forms)),
        asked=_asked(forms),
        answered=_answered(forms),
        same=same_keys(
            [sql.SQL("a.{}").format(name) for name in names],
            [sql.SQL("b.{}").format(name) for name in names],
        ),
    )


def same_keys(left: Sequence[sql.Composable], right: Sequence[sql.Composable]) -> sql.Composed:
    """Predicate: two keys of texts are equal. NULL is a key too, and only = can be hashed."""
    return _AND.join(
        sql.SQL("coalesce('=' || {}, '-') = coalesce('=' || {}, '-')").format(one, other)
        for one, other in zip(left, right, strict=True)
    )


def _values(forms: Forms) -> list[sql.Composed]:
    return [
        sql.SQL("a.{0} AS {1}, b.{0} AS {2}, a.{3} AS {3}").format(
            sql.Identifier(f"v{i}"),
            sql.Identifier(f"a{i}"),
            sql.Identifier(f"b{i}"),
            sql.Identifier(f"r{i}"),
        )
        for i, _ in enumerate(forms.compared)
    ]


def _asked(forms: Forms) -> sql.Composed:
    """The source's answer under the target's keys, rejected amounts taken off."""
    check = forms.check
    keys = [forms.form(_translated(check, i, name), name) for i, name in enumerate(check.key, 1)]
    return sql.SQL("SELECT {}, true AS here, {} FROM {} AS s{}{}").format(
        _aliased(keys, "x"),
        _COMMA.join(_asked_values(forms)),
        ASKED,
        joined_ledger(forms),
        _joined_rejects(forms),
    )


def _aliased(values: Sequence[sql.Composable], prefix: str) -> sql.Composed:
    return _COMMA.join(
        sql.SQL("{} AS {}").format(value, sql.Identifier(f"{prefix}{i}"))
        for i, value in enumerate(values)
    )


def _translated(check: Check, position: int, name: str) -> sql.Composable:
    if check.through is None:
        return sql.Identifier("s", name)
    return sql.Identifier("w", f"t{position}")


def _asked_values(forms: Forms) -> list[sql.Composed]:
    amounts = list(forms.check.rejected.amounts) if forms.check.rejected else []
    values = []
    for i, name in enumerate(forms.compared):
        value: sql.Composable = sql.Identifier("s", name)
        taken: sql.Composable = sql.SQL("NULL::numeric")
        if name in amounts:
            taken = sql.Identifier("j", f"a{amounts.index(name)}")
            value = sql.SQL("({}::numeric - coalesce({}, 0))").format(value, taken)
        value = value if forms.numeric(name) else forms.form(value, name)
        values.append(
            sql.SQL("{} AS {}, {} AS {}").format(
                value, sql.Identifier(f"v{i}"), taken, sql.Identifier(f"r{i}")
            )
        )
    return values or [sql.SQL("NULL::text AS none").format()]


def joined_ledger(forms: Forms) -> sql.Composed:
    check = forms.check
    if check.through is None:
        return sql.Composed([])
    same = _AND.join(
        sql.SQL("{} = {}").format(
            text_form(sql.Identifier("w", f"k{i}"), {forms.asked.columns[name][1]}),
            text_form(sql.Identifier("s", name), {forms.asked.columns[name][1]}),
        )
        for i, name in enumerate(check.key, 1)
    )
    return sql.SQL(" JOIN {} AS w ON {} AND w.state = 'live'").format(check.through.ledger, same)


def _joined_rejects(forms: Forms) -> sql.Composed:
    check = forms.check
    if check.rejected is None:
        return sql.Composed([])
    keys = [sql.Identifier(f"c{i}") for i in range(len(check.key))]
    sums = [
        sql.SQL("sum({0}) AS {0}").format(sql.Identifier(f"a{i}"))
        for i, _ in enumerate(check.rejected.amounts)
    ]
    # The check's key comes as text from both: in the form of its own type in the source's answer.
    same = same_keys(*asked_and_rejected(forms))
    return sql.SQL(" LEFT JOIN (SELECT {}, {} FROM {} GROUP BY {}) AS j ON {}").format(
        _COMMA.join(keys), _COMMA.join(sums), LISTED, _COMMA.join(keys), same
    )


def asked_and_rejected(forms: Forms) -> tuple[list[sql.Composed], list[sql.Composed]]:
    """The check's key in the source's answer (s) and beside a rejected row (j), in one form."""
    columns = [forms.asked.columns[name] for name in forms.check.key]
    asked = [
        text_form(sql.Identifier("s", name), {category})
        for name, (_, category) in zip(forms.check.key, columns, strict=True)
    ]
    rejected = [
        _rejected_key(sql.Identifier("j", f"c{i}"), column) for i, column in enumerate(columns)
    ]
    return asked, rejected


def _rejected_key(value: sql.Composable, column: tuple[str, str]) -> sql.Composed:
    type_, category = column
    return text_form(sql.SQL("({})::{}").format(value, sql.SQL(type_)), {category})


def _answered(forms: Forms) -> sql.Composed:
    check = forms.check
    keys = [forms.form(sql.Identifier("t", name), name) for name in check.key]
    values = [
        sql.Identifier("t", name)
        if forms.numeric(name)
        else forms.form(sql.Identifier("t", name), name)
        for name in forms.compared
    ]
    return sql.SQL("SELECT {}, true AS here, {} FROM {} AS t{}").format(
        _aliased(keys, "x"),
        _aliased(values, "v") if values else sql.SQL("NULL::text AS none"),
        ANSWERED,
        _only_live(check),
    )


def _only_live(check: Check) -> sql.Composed:
    """What the target held before, or another phase will bring, is not asked about."""
    if check.through is None:
        return sql.Composed([])
    same = _AND.join(
        sql.SQL("w.{}::text = t.{}::text").format(sql.Identifier(f"t{i}"), sql.Identifier(name))
        for i, name in enumerate(check.key, 1)
    )
    return sql.SQL(" WHERE EXISTS (SELECT FROM {} AS w WHERE w.state = 'live' AND {})").format(
        check.through.ledger, same
    )
