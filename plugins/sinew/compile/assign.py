"""The rule of no silent change: the target's type holds a value as it is, or it is caught."""

from __future__ import annotations

from dataclasses import replace

from psycopg.sql import Composable

from sinew.compile.conversion import convert
from sinew.compile.facts import PgType
from sinew.compile.guarded import Expression, Guard, apply, compose


def assign(
    expr: Expression, source: PgType, target: PgType, *, nullable: bool, has_default: bool
) -> Expression:
    """The expression in the target's type, and guards for what the type would round, cut or shift.

    A domain's value stays in the base type. Raises ValueError for a conversion that the mapping
    must spell out.
    """
    assigned = apply(expr, convert(source, target, expr.declared))
    if nullable or has_default:
        return assigned
    missing = Guard("not_null", "is NULL, and the target column takes no NULL", _is_null(expr))
    return replace(assigned, guards=(*assigned.guards, missing))


def _is_null(expr: Expression) -> Composable:
    return compose("(({}) IS NULL)", expr.value)
