"""Values with the reasons why they may not be converted, as SQL that never raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import LiteralString

from psycopg import sql
from psycopg.sql import Composable

from sinew.compile.facts import PgType

Value = Callable[[Composable], Composable]

_ONCE = sql.Identifier("once", "v")


@dataclass(frozen=True)
class Guard:
    """A reason why a value cannot be converted; the first true one wins.

    ``when`` is boolean SQL that is never NULL and never raises. ``reason`` completes "the value …"
    and does not hold the value.
    """

    rule: str
    reason: str
    when: Composable


@dataclass(frozen=True)
class Expression:
    """A value over a landed row. It is NULL when a guard is true, so it never raises.

    ``declared`` names the losses that the mapping accepts: round, truncate.
    """

    value: Composable
    guards: tuple[Guard, ...] = ()
    declared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rule:
    """A guard before it knows its value.

    ``test`` may give NULL, and it may raise where an earlier rule of the same change holds.
    """

    rule: str
    reason: str
    test: Value


@dataclass(frozen=True)
class Change:
    """How a value becomes another: rules in order, then the conversion of what passed them."""

    rules: tuple[Rule, ...] = ()
    convert: Value = lambda value: value

    def after(self, prepare: Value) -> Change:
        """The same change of ``prepare(value)``, which must not raise."""
        rules = tuple(replace(rule, test=_composed(rule.test, prepare)) for rule in self.rules)
        return Change(rules, _composed(self.convert, prepare))

    def then(self, other: Change) -> Change:
        """Both, one after the other."""
        further = other.after(self.convert)
        return Change(self.rules + further.rules, further.convert)


NO_CHANGE = Change()


def _composed(outer: Value, inner: Value) -> Value:
    return lambda value: outer(inner(value))


def compose(template: LiteralString, *parts: object) -> sql.Composed:
    """SQL with its parts in place; whatever is not Composable becomes a literal."""
    return sql.SQL(template).format(*parts)


def type_name(type_: PgType) -> sql.SQL:
    """The type's name as the catalogs write it."""
    return sql.SQL(type_.sql)


def cast_to(type_: PgType) -> Value:
    """A plain cast."""
    return lambda value: compose("{}::{}", value, type_name(type_))


def apply(expression: Expression, change: Change) -> Expression:
    """Guards and value after a change. What a rule catches becomes NULL."""
    guards = []
    for index, rule in enumerate(change.rules):
        when = _used(expression.value, partial(_caught, rules=change.rules[: index + 1]))
        guards.append(Guard(rule.rule, rule.reason, compose("(({}) IS TRUE)", when)))
    value = _used(expression.value, partial(_kept, change=change))
    return replace(expression, value=value, guards=(*expression.guards, *guards))


def _used(value: Composable, use: Value) -> Composable:
    """What ``use`` makes of the value, computed once however often it is used.

    A correlated subquery costs 0.3 µs a row, as little as one call of btrim.
    """
    once = use(_ONCE)
    uses = once.as_string(None).count(_ONCE.as_string(None))
    if uses <= 1 or isinstance(value, sql.Identifier):
        return use(value)
    # OFFSET 0 keeps the planner from writing the chain out again.
    return compose("(SELECT {} FROM (SELECT {} AS v OFFSET 0) AS once)", once, value)


def _caught(value: Composable, rules: Sequence[Rule]) -> Composable:
    """The last of the rules holds and none before it; CASE, for AND promises no order."""
    test = rules[-1].test(value)
    earlier = [compose("WHEN {} THEN false", rule.test(value)) for rule in rules[:-1]]
    return compose("CASE {} ELSE {} END", sql.SQL(" ").join(earlier), test) if earlier else test


def _kept(value: Composable, change: Change) -> Composable:
    if not change.rules:
        return change.convert(value)
    caught = [compose("WHEN {} THEN NULL", rule.test(value)) for rule in change.rules]
    return compose("CASE {} ELSE {} END", sql.SQL(" ").join(caught), change.convert(value))


def refuse(seen: PgType, wanted: PgType, advice: str) -> ValueError:
    """The error of a mapping that asks for a change that would not be safe."""
    return ValueError(
        f"a value of type {seen.sql} cannot become {wanted.sql} without being told how; {advice}"
    )
