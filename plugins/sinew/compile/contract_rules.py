"""What a Soda contract may hold here, and what is wrong with one, told without a database.

Soda drops what it does not know with a line in its log; a gate must not, so everything is refused
that Soda would ignore, and what cannot hold for a single batch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sinew.compile.expressions import columns_of
from sinew.errors import Problem
from sinew.spec.findings import Finding, show, unknown
from sinew.spec.positions import Path, Positions, load_document

_Seen = set[tuple[str | None, str, str | None]]

# Marks the checks that every contract gets; a user's check must not pass for one of them.
OWN = "sinew"
# The name under which a contract's own SQL finds the batch's rows: ${var.STAGING}.
STAGING_VARIABLE = "STAGING"

MISSING_KEYS = ("missing_values", "missing_format")
_FORMATS = ("missing_format", "valid_format", "invalid_format")
_LISTS = ("missing_values", "valid_values", "invalid_values")
_NUMBERS = ("valid_min", "valid_max", "valid_length", "valid_min_length", "valid_max_length")
VALIDITY_KEYS = (
    *("valid_values", "valid_format", "invalid_values", "invalid_format"),
    *(*_NUMBERS, "valid_reference_data"),
)
_TYPE_KEYS = (
    *("data_type", "character_maximum_length", "numeric_precision", "numeric_scale"),
    "datetime_precision",
)
_TOP_KEYS = ("dataset", "description", "columns", "checks", "check_attributes", "variables")
_COLUMN_KEYS = ("name", "description", *_TYPE_KEYS, *MISSING_KEYS, *VALIDITY_KEYS, "checks")
_COMMON = ("name", "qualifier", "attributes", "threshold")
_QUERY_KEYS = (*_COMMON, "expression", "query")
_COMPARISONS = (
    *("must_be", "must_not_be", "must_be_greater_than", "must_be_greater_than_or_equal"),
    *("must_be_less_than", "must_be_less_than_or_equal", "must_be_between", "must_be_not_between"),
)
_BOUNDS = ("greater_than", "greater_than_or_equal", "less_than", "less_than_or_equal")
_FUNCTIONS = ("avg", "sum", "min", "max", "minLength", "maxLength", "avgLength")


@dataclass(frozen=True)
class _Kind:
    """What one type of check may hold; without ``default`` it needs a threshold of its own."""

    keys: tuple[str, ...]
    default: str = ""


_COLUMN_KINDS = {
    "missing": _Kind((*_COMMON, "filter", *MISSING_KEYS), "must_be 0"),
    "invalid": _Kind((*_COMMON, "filter", *MISSING_KEYS, *VALIDITY_KEYS), "must_be 0"),
    "duplicate": _Kind((*_COMMON, "filter", *MISSING_KEYS), "must_be 0"),
    "aggregate": _Kind((*_COMMON, "filter", *MISSING_KEYS, *VALIDITY_KEYS, "function")),
    "failed_rows": _Kind((*_QUERY_KEYS, "filter", "rows_tested_query"), "must_be 0"),
    "metric": _Kind(_QUERY_KEYS),
}
_TABLE_KINDS = {
    "row_count": _Kind((*_COMMON, "filter"), "must_be_greater_than 0"),
    "schema": _Kind(
        ("name", "qualifier", "attributes", "allow_extra_columns", "allow_other_column_order"),
        "no difference",
    ),
    "freshness": _Kind((*_COMMON, "filter", "column")),
    "duplicate": _Kind((*_COMMON, "filter", "columns"), "must_be 0"),
    "failed_rows": _COLUMN_KINDS["failed_rows"],
    "metric": _COLUMN_KINDS["metric"],
}


def validate_contract(
    user: Mapping[str, Any] | str | None, columns: Iterable[str], path: str
) -> list[Problem]:
    """Everything that is wrong with a contract for a table of these columns.

    ``user`` is the file's text, or what it was read to; only the text gives lines and columns.
    """
    positions = Positions(path)
    if isinstance(user, str):
        document = load_document(user, path)
        if document.problems:
            return list(document.problems)
        user, positions = yaml.safe_load(user), document.positions
    if user is None:
        return []
    return [found.place(positions) for found in _contract(user, tuple(columns))]


def default_threshold(kind: str, column: str | None) -> str:
    """What a check of this type asks for when its contract says nothing."""
    return _kinds(column).get(kind, _Kind(())).default


def _kinds(column: str | None) -> Mapping[str, _Kind]:
    return _TABLE_KINDS if column is None else _COLUMN_KINDS


def _contract(user: Any, names: tuple[str, ...]) -> Iterator[Finding]:
    if not isinstance(user, Mapping):
        yield _wrong((), "the contract", user, "a map with `columns` and `checks`")
        return
    yield from _top_keys(user)
    yield from _variables(user)
    seen: _Seen = set()
    yield from _columns(user, names, seen)
    yield from _checks(user, (), None, {}, names, seen)


def _top_keys(user: Mapping[str, Any]) -> Iterator[Finding]:
    for key in user:
        if key == "filter":
            message = (
                "a filter of the whole contract is not allowed, because every row of a batch is "
                f"judged; seen: {show(user[key])}; allowed: `filter` in a check: move it there"
            )
            yield Finding((), message, unknown_key=key)
        elif key not in _TOP_KEYS:
            yield _unknown_key((), "the contract's key", key, _TOP_KEYS)


def _variables(user: Mapping[str, Any]) -> Iterator[Finding]:
    declared = user.get("variables", {})
    if not isinstance(declared, Mapping):
        yield _wrong(("variables",), "`variables`", declared, "a map of name to {default: value}")
        return
    for name, body in declared.items():
        if not isinstance(body, Mapping) or not isinstance(body.get("default"), str | int | float):
            what = f"the variable {name!r}"
            yield _wrong(("variables", name), what, body, "{default: a text or a number}")
    known = {"soda": ("NOW", "DATA_TIMESTAMP"), "var": (*declared, STAGING_VARIABLE)}
    yield from _references(user, (), known)


def _references(value: Any, path: Path, known: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    """Every ${...} in the contract; one that stands for nothing would stay in the SQL as it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _references(item, (*path, key), known)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _references(item, (*path, i), known)
    elif isinstance(value, str):
        for space, name in re.findall(r"\$\{ *([a-z]+)\.(\w+) *\}", value):
            allowed = [f"{where}.{each}" for where, names in known.items() for each in names]
            if f"{space}.{name}" not in allowed:
                advice = "declare it under `variables`; the environment is never read"
                yield Finding(path, unknown("the variable", f"{space}.{name}", allowed, advice))


def _columns(user: Mapping[str, Any], names: tuple[str, ...], seen: _Seen) -> Iterator[Finding]:
    columns = user.get("columns") or []
    if not isinstance(columns, list):
        yield _wrong(("columns",), "`columns`", columns, "a list of {name: …, checks: […]}")
        return
    met: set[str] = set()
    for i, column in enumerate(columns):
        path: Path = ("columns", i)
        name = column.get("name") if isinstance(column, Mapping) else None
        if not isinstance(name, str):
            yield _wrong(path, "a column", column, "a map with the column's `name`")
            continue
        yield from _column_name((*path, "name"), name, names)
        if name in met:
            message = f"the column {name!r} is here twice; allowed: once: put its checks together"
            yield Finding((*path, "name"), message)
        met.add(name)
        yield from _column(column, path, name, names, seen)


def _column(
    column: Mapping[str, Any], path: Path, name: str, names: tuple[str, ...], seen: _Seen
) -> Iterator[Finding]:
    for key in column:
        if key not in _COLUMN_KEYS:
            yield _unknown_key(path, "the column's key", key, _COLUMN_KEYS)
    yield from _values(column, path)
    yield from _checks(column, path, name, column, names, seen)


def _column_name(path: Path, name: Any, names: Collection[str]) -> Iterator[Finding]:
    if name not in names:
        advice = "name a column that the mapping fills"
        yield Finding(path, unknown("the column", str(name), names, advice))


def _checks(
    holder: Mapping[str, Any],
    path: Path,
    column: str | None,
    defaults: Mapping[str, Any],
    names: tuple[str, ...],
    seen: _Seen,
) -> Iterator[Finding]:
    checks = holder.get("checks", None)
    path = (*path, "checks")
    if "checks" in holder and (not isinstance(checks, list) or not checks):
        yield _wrong(path, "`checks`", checks, "a list of at least one check")
        return
    for i, check in enumerate(checks or []):
        if not isinstance(check, Mapping) or len(check) != 1:
            yield _wrong((*path, i), "a check", check, "a map of one key, such as `missing:`")
            continue
        ((kind, body),) = check.items()
        if kind not in _kinds(column):
            yield _unknown_key((*path, i), "the type of check", kind, _kinds(column))
        elif not isinstance(body, Mapping | None):
            yield _wrong((*path, i, kind), f"the check `{kind}`", body, "a map, or nothing")
        else:
            yield from _check((*path, i, kind), kind, body or {}, column, defaults, names)
            yield from _identity((*path, i, kind), kind, body or {}, column, seen)


def _identity(
    path: Path, kind: str, body: Mapping[str, Any], column: str | None, seen: _Seen
) -> Iterator[Finding]:
    qualifier = None if body.get("qualifier") is None else str(body["qualifier"])
    if qualifier is not None and (not qualifier or qualifier.split()[:1] == [OWN]):
        advice = f"a text that does not begin with {OWN!r}"
        yield _wrong((*path, "qualifier"), "the qualifier", qualifier, advice)
    if (column, kind, qualifier) in seen:
        message = (
            f"a second check `{kind}` with the qualifier {show(qualifier)} here; allowed: one of "
            "each: give it a `qualifier` of its own"
        )
        yield Finding(path, message, at_key=True)
    seen.add((column, kind, qualifier))


def _check(
    path: Path,
    kind: str,
    body: Mapping[str, Any],
    column: str | None,
    defaults: Mapping[str, Any],
    names: tuple[str, ...],
) -> Iterator[Finding]:
    rule = _kinds(column)[kind]
    for key in body:
        if key not in rule.keys:
            yield _unknown_key(path, f"the key of the check `{kind}`", key, rule.keys)
    yield from _values(body, path)
    yield from _expressions(body, path, names)
    yield from _threshold(path, body, rule)
    if kind in ("failed_rows", "metric") and ("expression" in body) == ("query" in body):
        yield _wrong(path, f"the check `{kind}`", body, "either `expression` or `query`")
    if kind == "invalid" and not any(key in body or key in defaults for key in VALIDITY_KEYS):
        yield _wrong(path, "the check `invalid`", body, f"one of {', '.join(VALIDITY_KEYS)}")
    if kind == "aggregate" and body.get("function") not in _FUNCTIONS:
        seen = body.get("function")
        yield _wrong(path, "`function`", seen, f"one of {', '.join(_FUNCTIONS)}")
    yield from _named_columns(path, kind, body, column, names)


def _expressions(body: Mapping[str, Any], path: Path, names: tuple[str, ...]) -> Iterator[Finding]:
    for key in ("expression", "filter"):
        text = body.get(key)
        if not isinstance(text, str) or not text.strip() or "${" in text:
            continue
        try:
            read = columns_of(text)
        except ValueError as error:
            yield Finding((*path, key), str(error))
            continue
        for name in sorted(name for name in read if not name.startswith(OWN)):
            yield from _column_name((*path, key), name, names)


def _named_columns(
    path: Path, kind: str, body: Mapping[str, Any], column: str | None, names: tuple[str, ...]
) -> Iterator[Finding]:
    if kind == "freshness":
        yield from _column_name((*path, "column"), body.get("column"), names)
    if kind == "duplicate" and column is None:
        several = body.get("columns")
        if not isinstance(several, list) or not several:
            yield _wrong(path, "`columns` of the check", several, "a list of columns")
            return
        for i, name in enumerate(several):
            yield from _column_name((*path, "columns", i), name, names)


def _values(body: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    for key in _LISTS:
        items = body.get(key, [""])
        texts = isinstance(items, list) and all(_is_plain(item) for item in items)
        if not texts or not items:
            yield _wrong((*path, key), f"`{key}`", items, "a list of texts or numbers, in quotes")
    for key in _FORMATS:
        if key in body and not _is_format(body[key]):
            yield _wrong((*path, key), f"`{key}`", body[key], "{name: what it is, regex: …}")
    for key in _NUMBERS:
        if key in body and not _is_number(body[key]):
            yield _wrong((*path, key), f"`{key}`", body[key], "a number")
    for key in ("expression", "query", "filter", "rows_tested_query", "name"):
        if key in body and not (isinstance(body[key], str) and body[key].strip()):
            yield _wrong((*path, key), f"`{key}`", body[key], "a text")
    if "valid_reference_data" in body:
        yield from _reference_data((*path, "valid_reference_data"), body["valid_reference_data"])


def _reference_data(path: Path, value: Any) -> Iterator[Finding]:
    body = value if isinstance(value, Mapping) else {}
    table, column = body.get("dataset"), body.get("column")
    named = isinstance(table, str) and table.count("/") >= 1 and isinstance(column, str)
    if not named or len(body) != 2:
        allowed = "{dataset: schema/table, column: name}, a table of the target's database"
        yield _wrong(path, "`valid_reference_data`", value, allowed)


def _threshold(path: Path, body: Mapping[str, Any], rule: _Kind) -> Iterator[Finding]:
    if "threshold" not in rule.keys:
        return
    if "threshold" not in body:
        if not rule.default:
            yield _wrong(path, "`threshold`", None, "a map such as {must_be: 0}")
        return
    threshold = body["threshold"]
    if not isinstance(threshold, Mapping):
        yield _wrong((*path, "threshold"), "`threshold`", threshold, "a map such as {must_be: 0}")
        return
    extra = ("metric", "unit", "additional")
    yield from _comparison((*path, "threshold"), threshold, extra, bool(rule.default))
    if "additional" in threshold:
        other = threshold["additional"]
        place = (*path, "threshold", "additional")
        if isinstance(other, Mapping):
            yield from _comparison(place, other, (), False)
        if not isinstance(other, Mapping) or level_of(other) == level_of(threshold):
            yield _wrong(place, "`additional`", other, "a comparison of the other `level`")


def level_of(threshold: Mapping[str, Any]) -> str:
    """``fail``, unless the threshold says ``warn``."""
    return "warn" if threshold.get("level") == "warn" else "fail"


def _comparison(
    path: Path, threshold: Mapping[str, Any], extra: tuple[str, ...], defaulted: bool
) -> Iterator[Finding]:
    allowed = (*_COMPARISONS, "level", *extra)
    for key in threshold:
        if key not in allowed:
            yield _unknown_key(path, "the threshold's key", key, allowed)
    if threshold.get("level", "fail") not in ("fail", "warn"):
        yield _wrong((*path, "level"), "`level`", threshold["level"], "fail or warn")
    if threshold.get("metric", "count") not in ("count", "percent"):
        yield _wrong((*path, "metric"), "`metric`", threshold["metric"], "count or percent")
    given = [key for key in _COMPARISONS if key in threshold]
    if len(given) > 1 or not (given or defaulted) or ("additional" in threshold and not given):
        yield _wrong(path, "the threshold", dict(threshold), f"one of {', '.join(_COMPARISONS)}")
    for key in given:
        value = threshold[key]
        right = _is_range(value) if key.endswith("between") else _is_number(value)
        if not right:
            needed = "a lower and an upper bound" if key.endswith("between") else "a number"
            yield _wrong((*path, key), f"`{key}`", value, needed)


def _is_range(value: Any) -> bool:
    if not isinstance(value, Mapping) or len(value) != 2:
        return False
    sides = {key.split("_")[0] for key in value if key in _BOUNDS}
    return sides == {"greater", "less"} and all(_is_number(bound) for bound in value.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


def _is_format(value: Any) -> bool:
    keys = {"name", "regex"}
    return (
        isinstance(value, Mapping)
        and set(value) == keys
        and all(isinstance(text, str) for text in value.values())
    )


def _wrong(path: Path, what: str, seen: Any, allowed: str) -> Finding:
    return Finding(path, f"{what} is {show(seen)}; allowed: {allowed}: correct it")


def _unknown_key(path: Path, what: str, key: Any, allowed: Iterable[str]) -> Finding:
    return Finding(path, unknown(what, str(key), allowed, "correct or remove it"), unknown_key=key)
