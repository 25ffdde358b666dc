"""Text that becomes a value only when it is written exactly as announced.

Postgres itself is generous: to_date takes '2026-02-03' for YYYYMMDD and makes 2 January of it,
to_number reads 12 from '12a', and casts know 'today', 0x1F and 1_000. Hence a regular expression
first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.sql import Composable

from sinew.compile.facts import PgType
from sinew.compile.guarded import Change, Rule, Value, cast_to, compose
from sinew.compile.type_names import DATE, TIMESTAMP, TIMESTAMPTZ, family

_DAY = "(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
_ZONE = "(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)"
_INTEGER = "^[+-]?[0-9]+$"
_NUMBER = "^[+-]?([0-9]+([.][0-9]+)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"
# numeric holds 131,072 digits before the point; nothing meant as a number is longer than this.
_LONGEST_NUMBER = 1000
_TRUE, _FALSE = ("y", "yes", "t", "true", "1"), ("n", "no", "f", "false", "0")

_SHAPES = {
    "integer": (_INTEGER, "is not a whole number in plain decimal digits"),
    "date": (f"^{_DAY}$", "is not a date in the form YYYY-MM-DD"),
    "timestamp": (
        f"^{_DAY}([ T]{_CLOCK})?$",
        "is not a timestamp in the form YYYY-MM-DD HH24:MI:SS",
    ),
    "timestamptz": (
        f"^{_DAY}[ T]{_CLOCK} ?{_ZONE}$",
        "is not a timestamp with its offset in the form YYYY-MM-DD HH24:MI:SS+00",
    ),
    "time": (f"^{_CLOCK}$", "is not a time in the form HH24:MI:SS"),
    "timetz": (
        f"^{_CLOCK} ?{_ZONE}$",
        "is not a time with its offset in the form HH24:MI:SS+00",
    ),
    "bytea": (r"^\\x([0-9a-fA-F]{2})*$", r"is not a row of bytes in the form \x00ff"),
    # The reader of intervals knows 'infinity' since Postgres 17.
    "interval": ("(?i)^(?!.*inf)", "is not an interval of finite length"),
}


def unlike(pattern: str) -> Value:
    """Test: the text does not match."""
    return lambda value: compose("{} !~ {}", value, pattern)


def unreadable(type_: PgType | str) -> Value:
    """Test: the type's own reader refuses the text."""
    name = type_ if isinstance(type_, str) else type_.sql
    return lambda value: compose("NOT pg_input_is_valid({}, {})", value, name)


def number() -> Change:
    """Text to numeric: digits, sign, decimal point, exponent."""
    return Change(
        (
            Rule("cast", "is not a number", unlike(_NUMBER)),
            Rule("out_of_range", "has more digits than a number may have", _too_long),
        ),
        lambda value: compose("{}::numeric", value),
    )


def _too_long(value: Composable) -> Composable:
    return compose("length({}) > {}", value, _LONGEST_NUMBER)


def read(target: PgType) -> Change:
    """Text to a type: first the shape, then whether it is such a value.

    Give a type without modifier, unless it refuses what does not fit: a precision would round.
    """
    kind = family(target)
    if kind == "bool":
        return truth(None)
    rules = []
    if kind in _SHAPES:
        pattern, reason = _SHAPES[kind]
        rules.append(Rule("cast", reason, unlike(pattern)))
    if kind == "integer":
        reason = f"is outside the range of {target.sql}"
        rules.append(Rule("out_of_range", reason, unreadable(target)))
    elif kind != "bytea":
        rules.append(Rule("cast", f"is not a valid {target.sql}", unreadable(target)))
    if target.kind == "u":
        rules.append(_another_text(target))
    return Change(tuple(rules), cast_to(target))


def _another_text(target: PgType) -> Rule:
    """What a domain or an extension's type does to a value shows in its text only."""
    reread = cast_to(target)
    return Rule(
        "lossy",
        f"is written another way once it is a {target.sql}",
        lambda v: compose("{}::text <> {}", reread(v), v),
    )


def truth(argument: dict[str, Any] | None) -> Change:
    """Text to boolean: the texts given, or y/n, yes/no, t/f, true/false, 1/0 in any case."""
    true, false = (argument["true"], argument["false"]) if argument else (_TRUE, _FALSE)
    prepare: Value = (lambda v: v) if argument else (lambda v: compose("lower({})", v))
    known = _list((*true, *false))
    rule = Rule(
        "to_bool",
        "is none of the texts for true and false",
        lambda v: compose("{} NOT IN ({})", v, known),
    )
    return Change((rule,), lambda v: compose("({} IN ({}))", v, _list(true))).after(prepare)


def _list(texts: Any) -> Composable:
    return sql.SQL(", ").join(sql.Literal(str(text)) for text in texts)


def formatted_number(argument: dict[str, Any] | None) -> Change:
    """Text to numeric, in the format given: groups of exactly three digits, or none at all."""
    given = argument or {}
    decimal, group = given.get("decimal", "."), given.get("group")
    if decimal == group:
        raise ValueError(
            f"parse_number: decimal and group are the same sign {decimal!r}; "
            "they must differ: give another, or leave group out"
        )
    shape = unlike(_number(decimal, group))
    return Change(
        (
            Rule("parse_number", "is not a number in the declared format", shape),
            Rule("out_of_range", "has more digits than a number may have", _too_long),
        ),
        lambda value: compose("{}::numeric", _plain_number(value, decimal, group)),
    )


def _number(decimal: str, group: str | None) -> str:
    point = _bracket(decimal)
    whole = "[0-9]+" if group is None else f"([0-9]{{1,3}}({_bracket(group)}[0-9]{{3}})+|[0-9]+)"
    return f"^[+-]?({whole}({point}[0-9]+)?|{point}[0-9]+)$"


def _bracket(sign: str) -> str:
    return "\\" + sign if sign in r"\^$.[]|()*+?{}-" else sign


def _plain_number(value: Composable, decimal: str, group: str | None) -> Composable:
    if group is not None:
        value = compose("replace({}, {}, '')", value, group)
    return value if decimal == "." else compose("replace({}, {}, '.')", value, decimal)


@dataclass(frozen=True)
class Token:
    """A part of a date pattern: how many characters it takes, and what they must match."""

    width: int
    pattern: str


_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_TOKENS = {
    "YYYY": Token(4, "(?!0000)[0-9]{4}"),
    "YY": Token(2, "[0-9]{2}"),
    "MM": Token(2, "(0[1-9]|1[0-2])"),
    "MON": Token(
        3, "(" + "|".join("".join(f"[{c.upper()}{c}]" for c in m) for m in _MONTHS.split()) + ")"
    ),
    "DD": Token(2, "(0[1-9]|[12][0-9]|3[01])"),
    "HH24": Token(2, "([01][0-9]|2[0-3])"),
    "HH": Token(2, "([01][0-9]|2[0-3])"),
    "MI": Token(2, "[0-5][0-9]"),
    "SS": Token(2, "[0-5][0-9]"),
    "MS": Token(3, "[0-9]{3}"),
    "US": Token(6, "[0-9]{6}"),
}
_SPLIT = re.compile("|".join(sorted(_TOKENS, key=len, reverse=True)) + "|.", re.DOTALL)


def patterned(pattern: str, rule: str) -> tuple[Change, PgType]:
    """Text in a date pattern to date or timestamp; a last Z means UTC and gives a timestamptz.

    Tokens: YYYY, YY (70 to 99 mean 1970 to 1999, 00 to 69 mean 2000 to 2069, as Postgres has it),
    MM, MON (English, any case), DD, HH24 or HH, MI, SS, MS, US; any other character is itself.
    """
    tokens = _SPLIT.findall(pattern)
    _check_tokens(tokens, pattern, rule)
    regex = "".join(_TOKENS[t].pattern if t in _TOKENS else _bracket(t) for t in tokens)
    timed = rule == "parse_timestamp"
    type_ = DATE if not timed else TIMESTAMPTZ if tokens[-1] == "Z" else TIMESTAMP
    iso = _iso(tokens, timed)
    noun = "timestamp" if timed else "date"
    rules = (
        Rule(rule, f"is not a {noun} in the form {pattern}", unlike(f"^{regex}$")),
        Rule(rule, f"is not a real {noun}", _no_such_day(tokens)),
    )
    return Change(rules, lambda v: cast_to(type_)(iso(v))), type_


def _no_such_day(tokens: list[str]) -> Value:
    """Test: 30 February and its like; days up to the 28th need no asking."""
    day, at = _iso(tokens, False), _places(tokens)["DD"]

    def test(value: Composable) -> Composable:
        late = compose("substr({}, {}, 2) > '28'", value, at)
        return compose("{} AND {}", late, unreadable("date")(day(value)))

    return test


def _check_tokens(tokens: list[str], pattern: str, rule: str) -> None:
    held = [token for token in tokens if token in _TOKENS]
    years, months = {"YYYY", "YY"} & set(held), {"MM", "MON"} & set(held)
    hours, fractions = {"HH24", "HH"} & set(held), {"MS", "US"} & set(held)
    whole = len(years) == 1 and len(months) == 1 and "DD" in held
    once = len(held) == len(set(held)) and len(hours) < 2 and len(fractions) < 2
    deep = (not fractions or "SS" in held) and ("SS" not in held or "MI" in held)
    if not (whole and once and deep and ("MI" not in held or hours)):
        raise ValueError(
            f"{rule}: the pattern {pattern!r} does not name one moment; it needs a year "
            "(YYYY, YY), a month (MM, MON) and a day (DD), each once, and no unit without the "
            "larger one: write such as YYYYMMDD"
        )


def _places(tokens: list[str]) -> dict[str, int]:
    places, at = {}, 1
    for token in tokens:
        places[token] = at
        at += _TOKENS[token].width if token in _TOKENS else 1
    return places


def _iso(tokens: list[str], timed: bool) -> Value:
    places = _places(tokens)
    wanted = [("", ("YYYY", "YY")), ("-", ("MM", "MON")), ("-", ("DD",))]
    if timed:
        wanted += [(" ", ("HH24", "HH")), (":", ("MI",)), (":", ("SS",)), (".", ("MS", "US"))]

    def build(value: Composable) -> Composable:
        parts: list[Composable] = []
        for lead, names in wanted:
            token = next((name for name in names if name in places), None)
            if token is not None:
                parts += [sql.Literal(lead)] if lead else []
                parts.append(_piece(value, token, places[token]))
            elif lead in (" ", ":") and len(parts) < 9:
                parts.append(sql.Literal(" 00" if lead == " " else ":00"))
        parts += [sql.Literal("Z")] if timed and tokens[-1] == "Z" else []
        return compose("({})", sql.SQL(" || ").join(parts))

    return build


def _piece(value: Composable, token: str, at: int) -> Composable:
    piece = compose("substr({}, {}, {})", value, at, _TOKENS[token].width)
    if token != "YY":
        return piece
    return compose("CASE WHEN {} >= '70' THEN '19' ELSE '20' END || {}", piece, piece)


def shown_in(pattern: str, type_: PgType) -> tuple[Change, bool]:
    """Date or timestamp to text in a pattern, the way back of ``patterned``; and whether each text has one form.

    A value that the pattern cannot tell whole is caught.
    """
    tokens = _SPLIT.findall(pattern)
    shown = _written(tokens, type_)
    read_, _ = patterned(pattern, "parse_date" if family(type_) == "date" else "parse_timestamp")
    first, last = ("1970", "2069") if "YY" in tokens else ("0001", "9999")
    rules = (
        Rule(
            "out_of_range",
            f"is outside the years {first} to {last} of the pattern {pattern}",
            lambda v: compose(
                "({0}) NOT BETWEEN {1}::date AND {2}::timestamp",
                _in_utc(v, type_),
                f"{first}-01-01",
                f"{last}-12-31 23:59:59.999999",
            ),
        ),
        Rule(
            "lossy",
            f"has more to it than the pattern {pattern} shows",
            lambda v: compose("{} <> {}", read_.convert(shown(v)), v),
        ),
    )
    return Change(rules, shown), "MON" not in tokens


def _written(tokens: list[str], type_: PgType) -> Value:
    parts = [_shown_token(token) for token in tokens]
    return lambda value: compose("to_char({}, {})", _in_utc(value, type_), "".join(parts))


def _shown_token(token: str) -> str:
    if token in _TOKENS:
        return "HH24" if token == "HH" else token
    return '"' + token.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_utc(value: Composable, type_: PgType) -> Composable:
    zoned = family(type_) == "timestamptz"
    return compose("({} AT TIME ZONE 'UTC')", value) if zoned else value
