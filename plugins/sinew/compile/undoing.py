"""How each step of a column is undone, and whether that gives back what was there.

*Lossless*: every value that the step let through comes back, equal by its type's own comparison (a numeric may
come back with other trailing zeros, a char(n) has its padding again). *Lossy*: a value comes back that the step
turns into the same again. *None*: nothing comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql

from sinew.compile.conversion import convert, strict_cast
from sinew.compile.facts import PgType
from sinew.compile.guarded import NO_CHANGE, Change, Rule, Value, compose
from sinew.compile.strict_text import shown_in
from sinew.compile.transforms import Step
from sinew.compile.type_names import NUMERIC, TEXT, base_of, family

Grade = Literal["lossless", "lossy", "none"]
GRADES: tuple[Grade, ...] = ("lossless", "lossy", "none")


@dataclass(frozen=True)
class Undoing:
    """The change that undoes a step or a chain of them; ``reasons`` say what does not come back."""

    grade: Grade = "lossless"
    change: Change = NO_CHANGE
    reasons: tuple[str, ...] = ()

    def then(self, earlier: Undoing) -> Undoing:
        """Undo an earlier step as well."""
        grade = max(self.grade, earlier.grade, key=GRADES.index)
        reasons = earlier.reasons + self.reasons
        if grade == "none":
            return Undoing(grade, NO_CHANGE, reasons)
        return Undoing(grade, self.change.then(earlier.change), reasons)


@dataclass(frozen=True)
class Place:
    """Where a step stands: the types before and after it, and whether a NULL may reach it."""

    before: PgType
    after: PgType
    nullable: bool


def undo_step(step: Step, place: Place) -> Undoing:
    """How one step is undone."""
    if step.name in _GONE:
        return Undoing("none", reasons=(_GONE[step.name],))
    if step.name in _OTHERWISE:
        return Undoing("lossy", _back(place.before, place.after), (_OTHERWISE[step.name],))
    return _UNDOINGS[step.name](place, step.argument)


def undo_assignment(natural: PgType, target: PgType) -> Undoing:
    """Back from the target column's type to that of the value before it was assigned."""
    return _converted(natural, target)


def passes_null(step: Step, nullable: bool) -> bool:
    """Whether a NULL may leave the step."""
    if step.name == "default":
        return False
    makes = step.name == "nullif" or (step.name == "map" and None in step.argument.values())
    return nullable or makes


_GONE = {
    "split": "`split` keeps one part",
    "concat": "`concat` joins what cannot be told apart again",
    "replace": "`replace` cannot be run backwards",
    "hash": "`hash` keeps a digest only",
    "mask": "`mask` keeps stars only",
}
_OTHERWISE = {
    "trim": "white space at its ends is gone",
    "squeeze": "runs of white space are one blank",
    "upper": "capitals and small letters are not told apart",
    "lower": "capitals and small letters are not told apart",
    "title": "capitals and small letters are not told apart",
    "round": "it was rounded",
    "truncate": "it was cut",
}


def _same(place: Place, argument: Any) -> Undoing:
    return Undoing("lossless", _back(place.before, place.after))


def _nullif(place: Place, argument: Sequence[str]) -> Undoing:
    first = argument[0]
    filled = Change((), lambda v: compose("coalesce({}, {})", v, first))
    if place.nullable:
        return Undoing("lossy", reasons=(f"{first!r} and NULL are not told apart",))
    if len(argument) > 1:
        told = " and ".join(map(repr, argument))
        return Undoing("lossy", filled, (f"{told} are not told apart",))
    return Undoing("lossless", filled)


def _default(place: Place, argument: object) -> Undoing:
    if not place.nullable:
        return Undoing()
    return Undoing("lossy", reasons=(f"NULL and the default {argument!r} are not told apart",))


def _map(place: Place, argument: dict[str, str | None]) -> Undoing:
    if "*" in argument:
        return Undoing("none", reasons=("all codes without an entry have become one",))
    texts: dict[str, str] = {}
    for code, text in argument.items():
        if text is not None:
            texts.setdefault(text, code)
    nulled = [code for code, text in argument.items() if text is None]
    codes = dict(zip(texts.values(), texts.values(), strict=True))
    alike = [code for code, text in argument.items() if text is not None and code not in codes]
    change = _coded(texts, nulled[0] if nulled and not place.nullable else None)
    reasons = []
    if alike:
        reasons.append(f"codes of one meaning are not told apart ({', '.join(alike)})")
    if len(nulled) > 1 or (nulled and place.nullable):
        reasons.append(f"{' and '.join(map(repr, nulled))} became NULL")
    back = change.then(_back(place.before, TEXT))
    return Undoing("lossy" if reasons else "lossless", back, tuple(reasons))


def _coded(texts: dict[str, str], null: str | None) -> Change:
    """Texts back to codes; one that no code stands for is caught."""
    pairs = [compose("WHEN {} THEN {}::text", text, code) for text, code in texts.items()]
    known = sql.SQL(", ").join(sql.Literal(text) for text in texts) if texts else sql.SQL("NULL")
    rule = Rule("map", "is no text of the map", lambda v: compose("{} NOT IN ({})", v, known))

    def code(value: sql.Composable) -> sql.Composable:
        if not pairs:
            return compose("coalesce(NULLIF({0}, {0}), {1})", value, null)
        coded = compose("CASE {} {} END", value, sql.SQL(" ").join(pairs))
        return (
            coded
            if null is None
            else compose("CASE WHEN {} IS NULL THEN {}::text ELSE {} END", value, null, coded)
        )

    return Change((rule,), code)


def _cast(place: Place, argument: str) -> Undoing:
    return _converted(place.before, place.after)


def _converted(before: PgType, after: PgType) -> Undoing:
    """A conversion without silent change is undone by the one that leads back, where there is one."""
    try:
        change = _back(before, after)
    except ValueError:
        return Undoing("none", reasons=(f"{after.sql} does not lead back to {before.sql}",))
    kinds = family(base_of(before)), family(base_of(after))
    if kinds[0] == "text" and kinds[1] not in ("text", "enum"):
        return Undoing("lossy", change, (f"a {after.sql} is written in one way only",))
    if kinds == ("json", "jsonb"):
        return Undoing("lossy", change, ("jsonb keeps neither blanks nor the order of keys",))
    return Undoing("lossless", change)


def _back(before: PgType, after: PgType) -> Change:
    """From the type after a step to the one before it; ValueError where nothing leads back."""
    kinds = family(base_of(before)), family(base_of(after))
    if kinds == ("bool", "integer"):
        rule = Rule("out_of_range", "is neither 0 nor 1", lambda v: compose("{} NOT IN (0, 1)", v))
        return Change((rule,), lambda v: compose("({} = 1)", v))
    if kinds == ("timestamptz", "date"):
        return Change((), lambda v: compose("({}::timestamp AT TIME ZONE 'UTC')", v))
    if kinds[1] == "text" and kinds[0] != "text":
        return strict_cast(TEXT, before)
    if kinds[0] == "text" and kinds[1] != "text":
        return Change((), lambda v: compose("{}::text", v)).then(convert(TEXT, before))
    return convert(after, before)


def _parsed(place: Place, pattern: str) -> Undoing:
    change, exact = shown_in(pattern, place.after)
    back = change.then(_back(place.before, TEXT))
    if exact:
        return Undoing("lossless", back)
    return Undoing("lossy", back, ("a month's name is written in one way only",))


def _parse_number(place: Place, argument: dict[str, Any] | None) -> Undoing:
    decimal = (argument or {}).get("decimal", ".")
    shown: Value = lambda v: compose("replace({}::text, '.', {})", v, decimal)  # noqa: E731
    finite = Rule(
        "cast",
        "is no number that can be written",
        lambda v: compose("{} IN ('NaN', 'Infinity', '-Infinity')", v),
    )
    back = Change((finite,), shown).then(_back(place.before, TEXT))
    return Undoing("lossy", back, ("a number is written in one way only",))


def _to_bool(place: Place, argument: dict[str, Any] | None) -> Undoing:
    if family(base_of(place.before)) == "bool":
        return Undoing()
    true, false = (argument["true"], argument["false"]) if argument else (("y",), ("n",))
    shown: Value = lambda v: compose(  # noqa: E731
        "CASE WHEN {0} THEN {1}::text WHEN NOT {0} THEN {2}::text END", v, true[0], false[0]
    )
    back = Change((), shown).then(_back(place.before, TEXT))
    if argument and len(true) == len(false) == 1:
        return Undoing("lossless", back)
    return Undoing("lossy", back, ("a truth value is written in one way only",))


def _scale(place: Place, argument: dict[str, Any]) -> Undoing:
    divisor = str(argument["divide"])
    times = Change((), lambda v: compose("({} * {}::numeric)", v, divisor))
    return Undoing("lossless", times.then(convert(NUMERIC, place.before)))


def _tz(place: Place, zone: str) -> Undoing:
    return Undoing("lossless", Change((), lambda v: compose("(({}) AT TIME ZONE {})", v, zone)))


_UNDOINGS: dict[str, Callable[[Place, Any], Undoing]] = {
    "check": _same,
    "nullif": _nullif,
    "default": _default,
    "map": _map,
    "cast": _cast,
    "parse_date": _parsed,
    "parse_timestamp": _parsed,
    "parse_number": _parse_number,
    "to_bool": _to_bool,
    "scale": _scale,
    "tz": _tz,
}
