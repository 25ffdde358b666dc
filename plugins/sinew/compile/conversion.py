"""From one Postgres type to another without a silent change: rules for a loss, then a cast.

A conversion that cannot lose anything has no rules. What the target type would round, cut or shift
is a rule, unless the mapping declares it by a ``round`` or ``truncate`` step. What cannot be judged
is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from psycopg import sql
from psycopg.sql import Composable

from sinew.compile.facts import PgType
from sinew.compile.guarded import (
    NO_CHANGE,
    Change,
    Rule,
    Value,
    cast_to,
    compose,
    refuse,
    type_name,
)
from sinew.compile.number_change import from_float, from_integer, from_numeric
from sinew.compile.strict_text import number, read, unreadable
from sinew.compile.type_names import NUMERIC, TEXT, base_of, family, unsized

Declared = frozenset[str]
Maker = Callable[[PgType, PgType, Declared], Change]

_STEPS = {
    "integer": "add `{cast: integer}` or `parse_number` to its `do`",
    "numeric": "add `{cast: numeric}` or `parse_number` to its `do`",
    "float": "add `{cast: double precision}` or `parse_number` to its `do`",
    "bool": "add `to_bool` to its `do`",
    "date": "add `{parse_date: <pattern>}` to its `do`, or `{cast: date}` for ISO text",
    "timestamp": "add `{parse_timestamp: <pattern>}` to its `do`, "
    "or `{cast: timestamp}` for ISO text",
    "timestamptz": "add `{parse_timestamp: <pattern>}` and `{tz: <zone>}` to its `do`, "
    "or `{cast: timestamptz}` for ISO text with an offset",
}
# Types whose own reader takes nothing but what it says.
_READABLE = ["uuid", "json", "jsonb", "xml", "inet", "cidr", "macaddr", "macaddr8", "enum"]

_ELEMENTS = ["integer", "numeric", "text", "timestamp", "timestamptz", "time", "interval"]
_ELEMENT_PAIRS = [("integer", "numeric"), ("date", "timestamp")]


def convert(source: PgType, target: PgType, declared: Declared = frozenset()) -> Change:
    """The change from one type to another; NO_CHANGE when both are the same type and modifier.

    A value for a domain stays in the domain's base type: its checks are a rule. Raises ValueError
    for what is refused.
    """
    if _same(source, target):
        return NO_CHANGE
    if source.kind == "d":
        base = base_of(source)
        return replace(NO_CHANGE, convert=cast_to(base)).then(convert(base, target, declared))
    if target.kind == "d":
        return _into_domain(source, target, declared)
    if family(source) == family(target) == "array":
        return _array(source, target, declared)
    return _maker(source, target)(source, target, declared)


def strict_cast(source: PgType | None, target: PgType) -> Change:
    """The change that ``cast`` asks for: as ``convert``, but text is read too, in one plain shape.

    A value of unknown type (None) goes through its text.
    """
    if source is not None and family(base_of(source)) != "text" and target.kind != "u":
        return convert(source, target)
    shown: Value = (lambda v: v) if source == TEXT else (lambda v: compose("({})::text", v))
    return _read(target, source is None).after(shown)


def _read(target: PgType, any_number: bool) -> Change:
    kind = family(target)
    if ("text", kind) in _MAKERS:
        return convert(TEXT, target)
    if kind in ("numeric", "float") or (kind == "integer" and any_number):
        return number().then(convert(NUMERIC, target))
    if kind == "bits":
        return read(target)
    plain = unsized(target)
    return read(plain).then(convert(plain, target))


def _same(source: PgType, target: PgType) -> bool:
    return source.sql == target.sql and source.modifier == target.modifier


def _maker(source: PgType, target: PgType) -> Maker:
    pair = family(source), family(target)
    if pair in _MAKERS:
        return _MAKERS[pair]
    if pair[1] == "text" and source.kind in "berm":
        return _to_text
    if source.name == target.name and source.kind == target.kind == "b":
        return _resized
    raise refuse(source, target, _advice(pair))


def _advice(pair: tuple[str, str]) -> str:
    if pair[0] == "text" and pair[1] in _STEPS:
        return _STEPS[pair[1]]
    if pair == ("timestamp", "timestamptz") or pair == ("timestamptz", "timestamp"):
        return "add `{tz: zone}` to its `do`, such as {tz: Europe/Berlin}"
    return "add a `cast` to its `do`, or fill the column with an `expr` that converts it"


# --- texts


def _text(source: PgType, target: PgType, declared: Declared) -> Change:
    """Padding of a char(n) is no part of the value, as Postgres compares it; other blanks are."""
    prepare: Value = (
        (lambda v: compose("{}::text", v)) if source.name == "bpchar" else (lambda v: v)
    )
    rules = []
    if target.length is not None and "truncate" not in declared and not _fits(source, target):
        rules.append(_too_long(target))
    if target.name == "bpchar" and source.name != "bpchar":
        rules.append(Rule("lossy", "ends in a blank, which char does not keep", _ends_in_blank))
    alike = {source.name, target.name} <= {"text", "varchar"} and target.length is None
    return Change(tuple(rules), (lambda v: v) if alike else cast_to(target)).after(prepare)


def _fits(source: PgType, target: PgType) -> bool:
    return source.length is not None and source.length <= (target.length or 0)


def _too_long(target: PgType) -> Rule:
    return Rule(
        "too_long",
        f"is longer than {target.length} characters",
        lambda v: compose("char_length({}) > {}", v, target.length),
    )


def _ends_in_blank(value: Composable) -> Composable:
    return compose("right({}, 1) = ' '", value)


def _to_text(source: PgType, target: PgType, declared: Declared) -> Change:
    shown = Change((), lambda v: compose("{}::text", v))
    return shown.then(_text(TEXT, target, declared))


def _readable(source: PgType, target: PgType, declared: Declared) -> Change:
    prepare: Value = (lambda v: compose("{}::text", v)) if source.name != "text" else (lambda v: v)
    change = read(target).after(prepare)
    return _unique_keys(change, prepare) if target.name == "jsonb" else change


def _json_to_jsonb(source: PgType, target: PgType, declared: Declared) -> Change:
    rule = Rule("cast", "holds what jsonb cannot store, such as \\u0000", _not_jsonb)
    return _unique_keys(Change((rule,), cast_to(target)), lambda v: v)


def _not_jsonb(value: Composable) -> Composable:
    return unreadable("jsonb")(compose("{}::text", value))


def _unique_keys(change: Change, prepare: Value) -> Change:
    rule = Rule(
        "duplicate_json_key",
        "has a key twice in one JSON object, of which jsonb keeps the last",
        lambda v: compose("({}) IS NOT JSON WITH UNIQUE KEYS", prepare(v)),
    )
    return replace(change, rules=(*change.rules, rule))


# --- dates and times


def _date_to_timestamp(source: PgType, target: PgType, declared: Declared) -> Change:
    rule = Rule("out_of_range", "is later than a timestamp can be", _after_timestamps)
    return Change((rule,), cast_to(target))


def _after_timestamps(value: Composable) -> Composable:
    return compose("{0} > '294276-12-31' AND {0} < 'infinity'", value)


def _to_date(source: PgType, target: PgType, declared: Declared) -> Change:
    """The day, when there is no time of day to lose; a timestamptz's day is the one in UTC."""
    zoned = family(source) == "timestamptz"
    prepare: Value = (lambda v: compose("({} AT TIME ZONE 'UTC')", v)) if zoned else (lambda v: v)
    rule = Rule("lossy", "has a time of day", lambda v: compose("{0}::date <> {0}", v))
    return Change(() if declared else (rule,), cast_to(target)).after(prepare)


def _resized(source: PgType, target: PgType, declared: Declared) -> Change:
    """The same type with another precision: the value must come back as the text that it was."""
    if target.modifier == -1 or declared:
        return Change((), cast_to(target))
    rule = Rule(
        "lossy",
        f"is more precise than {target.sql}",
        lambda v: compose("{0}::{1}::text <> {0}::text", v, type_name(target)),
    )
    return Change((rule,), cast_to(target))


# --- the rest


def _bits(source: PgType, target: PgType, declared: Declared) -> Change:
    if target.modifier == -1:
        return Change((), cast_to(target))

    def test(value: Composable) -> Composable:
        if target.name == "varbit":
            return compose("length({}) > {}", value, target.modifier)
        return compose("length({}) <> {}", value, target.modifier)

    rule = Rule("too_long", f"does not have the length of {target.sql}", test)
    return Change((rule,), cast_to(target))


def _network(source: PgType, target: PgType, declared: Declared) -> Change:
    rule = Rule("lossy", "has bits to the right of its mask", _masked_differs)
    return Change((rule,), cast_to(target))


def _masked_differs(value: Composable) -> Composable:
    return compose("{0}::cidr <> {0}", value)


def _plain(source: PgType, target: PgType, declared: Declared) -> Change:
    return Change((), cast_to(target))


def _bool_to_number(source: PgType, target: PgType, declared: Declared) -> Change:
    return Change((), lambda v: compose("{}::int4::{}", v, type_name(target)))


def _into_domain(source: PgType, target: PgType, declared: Declared) -> Change:
    change = convert(source, base_of(target), declared)
    checked = Rule(
        "check",
        f"does not pass the checks of {target.sql}",
        lambda v: unreadable(target)(compose("({})::text", change.convert(v))),
    )
    return replace(change, rules=(*change.rules, checked))


def _array(source: PgType, target: PgType, declared: Declared) -> Change:
    """Element by element, where casting the array does what casting its elements does."""
    one, other = base_of(source.element or TEXT), target.element or TEXT
    alike = family(one) == family(other) and family(one) in _ELEMENTS
    if not alike and (family(one), family(other)) not in _ELEMENT_PAIRS:
        raise refuse(source, target, _advice(("array", "array")))
    change = convert(one, other)
    rules = tuple(replace(rule, test=_any_element(rule)) for rule in change.rules)
    return Change(rules, cast_to(target))


def _any_element(rule: Rule) -> Value:
    def test(value: Composable) -> Composable:
        found = rule.test(sql.Identifier("element", "v"))
        return compose("EXISTS (SELECT FROM unnest({}) AS element(v) WHERE {})", value, found)

    return test


_MAKERS: dict[tuple[str, str], Maker] = {
    ("text", "text"): _text,
    **{("text", kind): _readable for kind in _READABLE},
    ("enum", "enum"): _readable,
    ("json", "jsonb"): _json_to_jsonb,
    ("jsonb", "json"): _plain,
    **{("integer", kind): from_integer for kind in ("integer", "numeric", "float")},
    **{("numeric", kind): from_numeric for kind in ("integer", "numeric", "float")},
    **{("float", kind): from_float for kind in ("integer", "numeric", "float")},
    ("bool", "integer"): _bool_to_number,
    ("date", "timestamp"): _date_to_timestamp,
    ("timestamp", "date"): _to_date,
    ("timestamptz", "date"): _to_date,
    ("bits", "bits"): _bits,
    ("inet", "cidr"): _network,
    ("cidr", "inet"): _plain,
}
