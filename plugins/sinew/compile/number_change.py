"""Number to number: what the target type would round or cannot hold is a rule."""

from __future__ import annotations

from psycopg import sql
from psycopg.sql import Composable

from sinew.compile.facts import PgType
from sinew.compile.guarded import Change, Rule, Value, cast_to, compose
from sinew.compile.strict_text import unreadable
from sinew.compile.type_names import family

_BOUNDS = {
    "int2": (-32768, 32767),
    "int4": (-2147483648, 2147483647),
    "int8": (-9223372036854775808, 9223372036854775807),
}
_DIGITS = {"int2": 5, "int4": 10, "int8": 19}
_WIDTH = {"int2": 2, "int4": 4, "int8": 8, "float4": 4, "float8": 8}


def from_integer(source: PgType, target: PgType, declared: frozenset[str]) -> Change:
    """int2, int4 and int8 to any number."""
    if family(target) == "integer":
        rules = () if _WIDTH[source.name] <= _WIDTH[target.name] else (_out_of_bounds(target),)
        return Change(rules, cast_to(target))
    if family(target) == "float" and _WIDTH[source.name] < _WIDTH[target.name]:
        return Change((), cast_to(target))  # 16 bits fit a real's 24, 32 bits a double's 53
    if family(target) == "numeric" and _holds_all(source, target):
        return Change((), cast_to(target))
    return from_numeric(source, target, declared).after(lambda v: compose("{}::numeric", v))


def _holds_all(source: PgType, target: PgType) -> bool:
    if target.precision is None or target.scale is None:
        return True
    return target.scale >= 0 and target.precision - target.scale >= _DIGITS[source.name]


def from_float(source: PgType, target: PgType, declared: frozenset[str]) -> Change:
    """real and double precision to any number.

    Their shortest text is exact; the cast to numeric keeps 15 digits of a double and 6 of a real.
    """
    shown: Value = lambda v: compose("{}::text", v)  # noqa: E731
    if family(target) != "float":
        exact: Value = lambda v: compose("{}::text::numeric", v)  # noqa: E731
        return from_numeric(source, target, declared).after(exact)
    if _WIDTH[source.name] <= _WIDTH[target.name]:
        return Change((), cast_to(target))
    narrowed: Value = lambda v: compose("{}::text::float4", v)  # noqa: E731
    rules = [Rule("out_of_range", f"is outside the range of {target.sql}", _unread(target, shown))]
    if not declared:
        lost: Value = lambda v: compose("{} <> {}", narrowed(v), v)  # noqa: E731
        rules.append(Rule("lossy", f"has more digits than {target.sql} keeps", lost))
    return Change(tuple(rules), narrowed)


def _unread(target: PgType, shown: Value) -> Value:
    return lambda value: unreadable(target)(shown(value))


def from_numeric(source: PgType, target: PgType, declared: frozenset[str]) -> Change:
    """numeric to any number."""
    if family(target) == "float":
        return _to_float(target, declared)
    if family(target) == "integer":
        return _to_integer(target, declared)
    return _to_numeric(source, target, declared)


def _to_float(target: PgType, declared: frozenset[str]) -> Change:
    read: Value = lambda v: compose("{}::text::{}", v, sql.SQL(target.name))  # noqa: E731
    shown: Value = lambda v: compose("{}::text", v)  # noqa: E731
    rules = [Rule("out_of_range", f"is outside the range of {target.sql}", _unread(target, shown))]
    if not declared:
        lost: Value = lambda v: compose("{}::text::numeric <> {}", read(v), v)  # noqa: E731
        rules.append(Rule("lossy", f"has more digits than {target.sql} keeps", lost))
    return Change(tuple(rules), read)


def _to_integer(target: PgType, declared: frozenset[str]) -> Change:
    whole = _cut(declared, 0)
    rules = [_out_of_bounds(target, whole)]
    if not declared:
        rules.append(Rule("scale_lost", f"has decimals, which {target.sql} does not keep", _broken))
    return Change(tuple(rules), lambda v: cast_to(target)(whole(v)))


def _broken(value: Composable) -> Composable:
    return compose("trunc({0}) <> {0}", value)


def _cut(declared: frozenset[str], scale: int) -> Value:
    """How the mapping wants decimals to go, if it wants."""
    if "truncate" in declared:
        return lambda value: compose("trunc({}, {})", value, scale)
    if "round" in declared:
        return lambda value: compose("round({}, {})", value, scale)
    return lambda value: value


def _out_of_bounds(target: PgType, prepare: Value = lambda value: value) -> Rule:
    # NaN is above every number here, so it is out of range as well.
    low, high = _BOUNDS[target.name]
    return Rule(
        "out_of_range",
        f"is outside the range of {target.sql}",
        lambda v: compose("{} NOT BETWEEN {} AND {}", prepare(v), low, high),
    )


def _to_numeric(source: PgType, target: PgType, declared: frozenset[str]) -> Change:
    precision, scale = target.precision, target.scale
    if precision is None or scale is None:
        return Change((), cast_to(target))
    cut = _cut(declared, scale)
    rules = []
    if not declared and not (source.scale is not None and source.scale <= scale):
        rules.append(_scale_lost(target, scale))
    if not _room(source, precision, scale):
        rules.append(_too_large(target, precision - scale, cut))
    return Change(tuple(rules), lambda v: cast_to(target)(cut(v)))


def _room(source: PgType, precision: int, scale: int) -> bool:
    """As many digits before the point as the source may have; rounding up would need one more."""
    if source.precision is None or source.scale is None:
        return False
    return source.scale <= scale and source.precision - source.scale <= precision - scale


def _scale_lost(target: PgType, scale: int) -> Rule:
    return Rule(
        "scale_lost",
        f"has more than {scale} decimals" if scale >= 0 else f"is too fine for {target.sql}",
        lambda v: compose("round({0}, {1}) <> {0}", v, scale),
    )


def _too_large(target: PgType, digits: int, cut: Value) -> Rule:
    # numeric(p,s) keeps NaN, which is above every number; it has no room for the infinities.
    bound = sql.SQL(f"1e{digits}::numeric")
    return Rule(
        "out_of_range",
        f"is outside the range of {target.sql}",
        lambda v: compose("abs({0}) >= {1} AND {0} <> 'NaN'", cut(v), bound),
    )
