"""Types by the names that people write, and the families within which conversions are alike."""

from __future__ import annotations

import re

from sinew.compile.facts import PgType

TEXT = PgType("text", "text", category="S")
NUMERIC = PgType("numeric", "numeric", category="N")
BOOL = PgType("boolean", "bool", category="B")
DATE = PgType("date", "date", category="D")
TIMESTAMP = PgType("timestamp without time zone", "timestamp", category="D")
TIMESTAMPTZ = PgType("timestamp with time zone", "timestamptz", category="D")

# Written name -> (catalog name, category).
_WRITTEN = {
    **dict.fromkeys(["smallint", "int2"], ("int2", "N")),
    **dict.fromkeys(["integer", "int", "int4"], ("int4", "N")),
    **dict.fromkeys(["bigint", "int8"], ("int8", "N")),
    **dict.fromkeys(["numeric", "decimal", "dec"], ("numeric", "N")),
    **dict.fromkeys(["real", "float4"], ("float4", "N")),
    **dict.fromkeys(["double precision", "float8", "float"], ("float8", "N")),
    **dict.fromkeys(["boolean", "bool"], ("bool", "B")),
    "text": ("text", "S"),
    **dict.fromkeys(["character varying", "varchar"], ("varchar", "S")),
    **dict.fromkeys(["character", "char", "bpchar"], ("bpchar", "S")),
    "date": ("date", "D"),
    **dict.fromkeys(["timestamp", "timestamp without time zone"], ("timestamp", "D")),
    **dict.fromkeys(["timestamptz", "timestamp with time zone"], ("timestamptz", "D")),
    **dict.fromkeys(["time", "time without time zone"], ("time", "D")),
    **dict.fromkeys(["timetz", "time with time zone"], ("timetz", "D")),
    "interval": ("interval", "T"),
    **{name: (name, "U") for name in ("uuid", "json", "jsonb", "xml", "bytea")},
    **{name: (name, "U") for name in ("macaddr", "macaddr8")},
    **{name: (name, "I") for name in ("inet", "cidr")},
    "bit": ("bit", "V"),
    **dict.fromkeys(["bit varying", "varbit"], ("varbit", "V")),
}
_CANONICAL = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "varchar": "character varying",
    "bpchar": "character",
    "varbit": "bit varying",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}
_MODIFIED = re.compile(r"\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")

_FAMILIES = {
    **dict.fromkeys(["int2", "int4", "int8"], "integer"),
    **dict.fromkeys(["float4", "float8"], "float"),
    **dict.fromkeys(["text", "varchar", "bpchar", "citext"], "text"),
    **dict.fromkeys(["bit", "varbit"], "bits"),
}


def named(written: str) -> PgType:
    """The type that a mapping names; one that is no built-in type has kind 'u', for unknown."""
    text = re.sub(r"\s+", " ", written.strip())
    if text.endswith("[]"):
        element = named(text[:-2])
        return PgType(f"{element.sql}[]", f"_{element.name}", category="A", element=element)
    found = _MODIFIED.search(text)
    bare = re.sub(r"\s+", " ", _MODIFIED.sub(" ", text)).strip().lower()
    if bare not in _WRITTEN:
        return PgType(text, text, kind="u", builtin=False)
    name, category = _WRITTEN[bare]
    if found is None and name in ("bpchar", "bit") and bare != "bpchar":
        found = _MODIFIED.search("(1)")  # char and bit without a length are one long
    return _modified(name, category, found)


def _modified(name: str, category: str, found: re.Match[str] | None) -> PgType:
    sql = _CANONICAL.get(name, name)
    if found is None:
        return PgType("bpchar" if name == "bpchar" else sql, name, category=category)
    first, second = int(found[1]), int(found[2] or 0)
    head, _, tail = sql.partition(" ") if name.startswith("time") else (sql, "", "")
    shown = f"{first},{second}" if name == "numeric" else str(first)
    modifier = _modifier(name, first, second)
    return PgType(f"{head}({shown}) {tail}".strip(), name, category=category, modifier=modifier)


def _modifier(name: str, first: int, second: int) -> int:
    if name == "numeric":
        return ((first << 16) | (second & 0x7FF)) + 4
    return first + 4 if name in ("varchar", "bpchar") else first


def family(type_: PgType) -> str:
    """The family of a type: integer, float, text, bits, enum, array, or the type's own name."""
    if type_.kind == "e":
        return "enum"
    if type_.element is not None and type_.category == "A":
        return "array"
    return _FAMILIES.get(type_.name, type_.name)


def base_of(type_: PgType) -> PgType:
    """The type under a domain, or the type itself."""
    return base_of(type_.base) if type_.kind == "d" and type_.base is not None else type_


def unsized(type_: PgType) -> PgType:
    """The same built-in type without length, precision or scale."""
    return named(_MODIFIED.sub("", type_.sql))
