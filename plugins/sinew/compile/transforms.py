"""The steps of a column's ``do`` list as SQL: text functions, strict readers, declared losses.

White space means blank, tab, line feed, vertical tab, form feed, carriage return and the no-break
space. A char(n) loses its padding at its first text step. ``title`` is Postgres' initcap: every run
of letters and digits starts with a capital (O'Brien, Mcdonald). Texts are compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from psycopg import sql
from psycopg.sql import Composable

from sinew.compile.conversion import strict_cast
from sinew.compile.facts import PgType
from sinew.compile.guarded import Change, Expression, Guard, Rule, Value, apply, compose
from sinew.compile.strict_text import formatted_number, patterned, truth, unlike
from sinew.compile.type_names import (
    BOOL,
    NUMERIC,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    base_of,
    family,
    named,
)

__all__ = ["Expression", "Guard", "Stage", "Step", "compile_steps", "mask", "stages"]

_SPACE = " \t\n\v\f\r\u00a0"
_NUMBERS = ("integer", "numeric", "float")
_MOMENTS = ("timestamp", "timestamptz")
_LOSSES = ("round", "truncate")


class Step(Protocol):
    """A transform by its name, and its argument as the mapping has it."""

    @property
    def name(self) -> str:
        """The transform."""

    @property
    def argument(self) -> Any:
        """Plain values, or None for a bare name."""


@dataclass(frozen=True)
class Stage:
    """A chain so far, its type (None: unknown), and what lies around the step to be compiled."""

    expression: Expression
    type: PgType | None
    column: Callable[[str], Composable]
    loss_follows: bool = False

    def changed(self, change: Change, type_: PgType | None) -> Stage:
        """The chain with one more change."""
        return replace(self, expression=apply(self.expression, change), type=type_)

    def mapped(self, convert: Callable[[Composable], Composable], type_: PgType | None) -> Stage:
        """The chain with one more function, which never raises."""
        return self.changed(Change((), convert), type_)

    def declaring(self, loss: str) -> Stage:
        """The chain with a loss that its author accepts."""
        declared = self.expression.declared | {loss}
        return replace(self, expression=replace(self.expression, declared=declared))

    @property
    def kind(self) -> str | None:
        """The type's family; None when the type is unknown."""
        return None if self.type is None else family(base_of(self.type))


def compile_steps(
    value: Composable,
    type: PgType | None,
    steps: Sequence[Step],
    default: object,
    column: Callable[[str], Composable],
) -> Expression:
    """The value after its steps and its default, with a guard for each reason to refuse it.

    ``type`` is None when only the server knows it. Raises ValueError for steps that cannot follow
    one another.
    """
    return _default(stages(value, type, steps, column)[-1], default).expression


def stages(
    value: Composable,
    type: PgType | None,
    steps: Sequence[Step],
    column: Callable[[str], Composable],
) -> list[Stage]:
    """The chain before its first step and after each; raises ValueError as ``compile_steps`` does."""
    found = [Stage(Expression(value), type, column)]
    for index, step in enumerate(steps):
        follows = any(later.name in _LOSSES for later in steps[index + 1 :])
        found.append(_STEPS[step.name](replace(found[-1], loss_follows=follows), step.argument))
    return found


# --- texts


def _as_text(stage: Stage) -> Stage:
    if stage.type is not None and stage.type.name in ("text", "varchar"):
        return stage
    return stage.mapped(lambda v: compose("({})::text", v), TEXT)


def _text(convert: Callable[[Composable, Any], Composable]) -> Callable[[Stage, Any], Stage]:
    def step(stage: Stage, argument: Any) -> Stage:
        return _as_text(stage).mapped(lambda v: convert(v, argument), TEXT)

    return step


def _squeeze(value: Composable, _: Any) -> Composable:
    return compose("regexp_replace({}, {}, ' ', 'g')", value, f"[{_SPACE}]+")


def _replace(value: Composable, argument: dict[str, str]) -> Composable:
    return compose("regexp_replace({}, {}, {}, 'g')", value, argument["pattern"], argument["with"])


def _split(value: Composable, argument: dict[str, Any]) -> Composable:
    return compose("split_part({}, {}, {})", value, argument["on"], argument["part"])


def _hash(value: Composable, _: Any) -> Composable:
    return compose("encode(sha256(convert_to({}, 'UTF8')), 'hex')", value)


def _hide(value: Composable, argument: str) -> Composable:
    """Stars in the place of characters; a text no longer than what may be seen is hidden whole."""
    whole = compose("repeat('*', char_length({}))", value)
    if argument == "all":
        return whole
    seen = int(argument.split()[1])
    return compose(
        "CASE WHEN char_length({0}) > {1} THEN "
        "repeat('*', char_length({0}) - {1}) || right({0}, {1}) ELSE {2} END",
        *(value, seen, whole),
    )


def _concat(stage: Stage, argument: Sequence[Any]) -> Stage:
    """Texts and columns in their order; a NULL column adds nothing, and all NULL give NULL."""
    columns = [
        compose("{}::text", stage.column(p["column"])) for p in argument if isinstance(p, dict)
    ]
    parts = iter(columns)
    joined = sql.SQL(", ").join(
        next(parts) if isinstance(part, dict) else sql.Literal(str(part)) for part in argument
    )
    if not columns:
        return stage.mapped(lambda _: compose("concat({})", joined), TEXT)
    given = compose("num_nonnulls({}) > 0", sql.SQL(", ").join(columns))
    return stage.mapped(lambda _: compose("CASE WHEN {} THEN concat({}) END", given, joined), TEXT)


def _check(stage: Stage, pattern: str) -> Stage:
    rule = Rule("check", "does not match the pattern of its check", unlike(pattern))
    return _as_text(stage).changed(Change((rule,)), TEXT)


def _map(stage: Stage, argument: dict[str, str | None]) -> Stage:
    """Codes to texts; a code without an entry is caught, unless the entry '*' takes it."""
    entries = {key: text for key, text in argument.items() if key != "*"}
    known = sql.SQL(", ").join(sql.Literal(key) for key in entries) if entries else sql.SQL("NULL")
    if "*" in argument:
        return _as_text(stage).mapped(lambda v: _looked_up(v, entries, argument["*"]), TEXT)
    rule = Rule("map", "has no entry in the map", lambda v: compose("{} NOT IN ({})", v, known))
    return _as_text(stage).changed(Change((rule,), lambda v: _looked_up(v, entries, None)), TEXT)


def _looked_up(value: Composable, entries: dict[str, str | None], rest: str | None) -> Composable:
    pairs = [compose("WHEN {} THEN {}::text", key, text) for key, text in entries.items()]
    if rest is not None:
        # NULL equals nothing, so it would fall through to the rest.
        pairs.append(compose("WHEN {} THEN {}::text", value, rest))
    if not pairs:
        return compose("NULLIF({0}, {0})", value)
    return compose("CASE {} {} END", value, sql.SQL(" ").join(pairs))


# --- any type


def _nullif(stage: Stage, argument: Sequence[str]) -> Stage:
    """A literal takes the value's own type, so that a number stays a number."""
    for text in argument:
        stage = stage.mapped(partial(_null_if, text), stage.type)
    return stage


def _null_if(text: str, value: Composable) -> Composable:
    return compose("nullif({}, {})", value, text)


def _default(stage: Stage, argument: object) -> Stage:
    if argument is None:
        return stage
    text = str(argument).lower() if isinstance(argument, bool) else str(argument)
    return stage.mapped(lambda v: compose("coalesce({}, {})", v, text), stage.type)


def _cast(stage: Stage, argument: str) -> Stage:
    target = named(argument)
    return stage.changed(strict_cast(stage.type, target), target)


# --- readers


def _reader(change: Change, type_: PgType, name: str) -> Callable[[Stage], Stage]:
    def read(stage: Stage) -> Stage:
        if stage.kind == family(type_) or stage.kind in _MOMENTS:
            raise _misplaced(stage, name, "a text", "remove the step")
        return _as_text(stage).changed(change, type_)

    return read


def _parse_date(stage: Stage, pattern: str) -> Stage:
    return _reader(*patterned(pattern, "parse_date"), "parse_date")(stage)


def _parse_timestamp(stage: Stage, pattern: str) -> Stage:
    return _reader(*patterned(pattern, "parse_timestamp"), "parse_timestamp")(stage)


def _parse_number(stage: Stage, argument: dict[str, Any] | None) -> Stage:
    return _reader(formatted_number(argument), NUMERIC, "parse_number")(stage)


def _to_bool(stage: Stage, argument: dict[str, Any] | None) -> Stage:
    return stage if stage.kind == "bool" else _as_text(stage).changed(truth(argument), BOOL)


def _misplaced(stage: Stage, name: str, wanted: str, advice: str) -> ValueError:
    seen = "a value whose type is not known here" if stage.type is None else stage.type.sql
    return ValueError(f"the step {name} cannot follow {seen}; it takes {wanted}: {advice}")


# --- numbers and moments


def _as_number(stage: Stage, name: str) -> Stage:
    if stage.kind == "text":
        raise _misplaced(stage, name, "a number", "put parse_number or a cast before it")
    if stage.type is not None and stage.kind not in _NUMBERS:
        raise _misplaced(stage, name, "a number", "remove the step")
    return (
        stage
        if stage.kind == "numeric"
        else stage.changed(strict_cast(stage.type, NUMERIC), NUMERIC)
    )


def _round(stage: Stage, places: int) -> Stage:
    stage = _as_number(stage, "round")
    return stage.mapped(lambda v: compose("round({}, {})", v, places), NUMERIC).declaring("round")


def _truncate(stage: Stage, places: int) -> Stage:
    """A text to its first characters, a number to its first decimals, a moment to its last unit."""
    if stage.type is None:
        raise _misplaced(stage, "truncate", "a text, number or timestamp", "put a cast before it")
    if stage.kind == "text":
        cut = _as_text(stage).mapped(lambda v: compose("left({}, {})", v, places), TEXT)
    elif stage.kind in _MOMENTS:
        unit = {0: "second", 3: "milliseconds"}.get(places, "microseconds")
        cut = stage.mapped(lambda v: compose("date_trunc({}, {})", unit, v), stage.type)
    else:
        cut = _as_number(stage, "truncate")
        cut = cut.mapped(lambda v: compose("trunc({}, {})", v, places), NUMERIC)
    return cut.declaring("truncate")


def _scale(stage: Stage, argument: dict[str, Any]) -> Stage:
    """Exact division: a power of ten shifts the point, another number must come out even."""
    divisor = str(argument["divide"])
    stage = _as_number(stage, "scale")
    return stage.changed(_divided(divisor, stage.loss_follows), NUMERIC)


def _divided(divisor: str, loss_follows: bool) -> Change:
    digits = divisor.removesuffix(".0")
    if digits.strip("0") == "1" and digits.startswith("1"):
        factor = "0." + "0" * (len(digits) - 2) + "1" if len(digits) > 1 else "1"
        return Change((), lambda v: compose("({} * {}::numeric)", v, factor))
    quotient: Value = lambda v: compose("trim_scale({} / {}::numeric)", v, divisor)  # noqa: E731
    uneven = Rule(
        "lossy",
        "does not divide evenly; a later round would declare that",
        lambda v: compose("{} * {}::numeric <> {}", quotient(v), divisor, v),
    )
    return Change(() if loss_follows else (uneven,), quotient)


def _tz(stage: Stage, zone: str) -> Stage:
    """A timestamp written in a zone to the moment it means; a moment to what its clocks show.

    A time that a clock skips is caught. One that a clock shows twice is taken as standard time.
    """
    if stage.type is not None and stage.kind not in _MOMENTS:
        raise _misplaced(stage, "tz", "a timestamp", "put parse_timestamp or a cast before it")
    other = {"timestamp": TIMESTAMPTZ, "timestamptz": TIMESTAMP, None: None}[stage.kind]
    rules = (
        Rule("out_of_range", "is at the end of what a timestamp can be", _extreme),
        Rule("tz", "does not exist in its time zone", lambda v: _skipped(v, zone)),
    )
    return stage.changed(Change(rules, lambda v: _at(v, zone)), other)


def _at(value: Composable, zone: str) -> Composable:
    return compose("(({}) AT TIME ZONE {})", value, zone)


def _extreme(value: Composable) -> Composable:
    """A zone's offset could shift it beyond the range, which raises."""
    return compose("isfinite({0}) AND {0} NOT BETWEEN '4712-01-01 BC' AND '294276-01-01'", value)


def _skipped(value: Composable, zone: str) -> Composable:
    return compose("{} <> {}", _at(_at(value, zone), zone), value)


def mask(value: Composable) -> Composable:
    """A text that tells enough of a value to find it, and too little to know it.

    a***@d*** for an e-mail address; else the first character, three stars and the length; a text of
    one or two characters shows nothing but its length.
    """
    return compose(
        "CASE WHEN {0} ~ '^[^@]+@[^@]+$' "
        "THEN left({0}, 1) || '***@' || left(split_part({0}, '@', 2), 1) || '***' "
        "WHEN char_length({0}) > 2 THEN left({0}, 1) || '***' || char_length({0}) "
        "ELSE '***' || char_length({0}) END",
        compose("({})::text", value),
    )


_STEPS: dict[str, Callable[[Stage, Any], Stage]] = {
    "trim": _text(lambda v, _: compose("btrim({}, {})", v, _SPACE)),
    "squeeze": _text(_squeeze),
    "upper": _text(lambda v, _: compose("upper({})", v)),
    "lower": _text(lambda v, _: compose("lower({})", v)),
    "title": _text(lambda v, _: compose("initcap({})", v)),
    "replace": _text(_replace),
    "split": _text(_split),
    "hash": _text(_hash),
    "mask": _text(_hide),
    "concat": _concat,
    "check": _check,
    "map": _map,
    "nullif": _nullif,
    "default": _default,
    "cast": _cast,
    "parse_date": _parse_date,
    "parse_timestamp": _parse_timestamp,
    "parse_number": _parse_number,
    "to_bool": _to_bool,
    "round": _round,
    "truncate": _truncate,
    "scale": _scale,
    "tz": _tz,
}
