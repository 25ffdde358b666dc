"""JSON read without harm: numbers keep their digits, and what Postgres cannot hold is noticed record by record.

How each kind of value survives from an answer to a record's text:

- whole numbers are exact, whatever their size; a decimal keeps its digits and its scale (1.10 stays
  1.10, and is not 1.1), an exponent its value (1.5e3 becomes 1.5E+3);
- a key that an object repeats would be lost in silence (RFC 8259, section 4: behaviour is
  unpredictable): the last value stays, and the record is flawed;
- NaN and Infinity are no JSON (RFC 8259, section 6), U+0000 and unpaired surrogates cannot be held by
  jsonb, nor numbers beyond the range of ``numeric``: the record is flawed, and its text holds a
  harmless stand-in, so that it can still be stored as the evidence of a reject.

The text of a record is canonical: no spaces, members in the order in which they came.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

# Postgres' numeric: so many digits before the decimal point, so many after it.
_WHOLE_DIGITS, _DECIMALS = 131072, 16383
# Python refuses to parse longer whole numbers, as a guard against slow conversion.
_LONGEST_INT = 4300
_SURROGATE = re.compile("[\ud800-\udfff]")

_encoder = msgspec.json.Encoder(decimal_format="number")


class UnreadableError(ValueError):
    """A body is not JSON; the message says where, and quotes nothing."""


class Record(NamedTuple):
    """One record: its JSON text, fit for jsonb, and what is wrong with it (places, no values)."""

    text: str
    flaws: tuple[str, ...] = ()


class _OddNumber(NamedTuple):
    """A number that is no JSON, or that no ``numeric`` can hold."""

    literal: str
    flaw: str


@dataclass
class Document:
    """A parsed answer: ``root`` of dicts, lists, texts, ints, Decimals, booleans and None."""

    root: Any
    suspect: bool = False
    _repeated: dict[int, tuple[Any, list[str]]] = field(default_factory=dict, repr=False)

    def record(self, value: Any) -> Record:
        """The record at a value of this document."""
        if not (self.suspect or self._repeated):
            try:
                return Record(_encoder.encode(value).decode())
            except UnicodeEncodeError:
                # An unpaired surrogate.
                pass
        flaws: list[str] = []
        clean = self._clean(value, "$", flaws)
        return Record(_encoder.encode(clean).decode(), tuple(flaws))

    def _clean(self, value: Any, place: str, flaws: list[str]) -> Any:
        if isinstance(value, _OddNumber):
            flaws.append(f"{place}: {value.flaw}")
            return value.literal[:100]
        if isinstance(value, str):
            return _clean_text(value, place, flaws)
        if isinstance(value, list):
            return [self._clean(item, f"{place}[{i}]", flaws) for i, item in enumerate(value)]
        if isinstance(value, dict):
            for name in self._repeated.get(id(value), (None, []))[1]:
                flaws.append(f"{place}: the key {_clean_text(name, '', [])!r} is repeated")
            return {
                _clean_text(key, f"{place}: a key", flaws): self._clean(
                    item, f"{place}.{_clean_text(key, '', [])}", flaws
                )
                for key, item in value.items()
            }
        return value


def _clean_text(text: str, place: str, flaws: list[str]) -> str:
    if "\0" in text:
        flaws.append(f"{place}: U+0000, which Postgres cannot hold")
        text = text.replace("\0", "\ufffd")
    if _SURROGATE.search(text):
        flaws.append(f"{place}: an unpaired surrogate, which is no character")
        text = _SURROGATE.sub("\ufffd", text)
    return text


class _Hooks:
    """What the parser calls; remembers what it saw."""

    def __init__(self) -> None:
        self.odd = False
        self.repeated: dict[int, tuple[Any, list[str]]] = {}

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            # The object is kept too, so that its id stays its own.
            repeated = sorted({name for name in names if names.count(name) > 1})
            self.repeated[id(result)] = (result, repeated)
        return result

    def decimal(self, literal: str) -> Any:
        # Short literals without an exponent are always in range.
        if len(literal) < 1000 and "e" not in literal and "E" not in literal:
            return Decimal(literal)
        try:
            number = Decimal(literal)
        except ArithmeticError:
            return self.number_out_of_range(literal)
        exponent = number.as_tuple().exponent
        fits = isinstance(exponent, int) and -exponent <= _DECIMALS
        if not fits or number.adjusted() >= _WHOLE_DIGITS:
            return self.number_out_of_range(literal)
        return number

    def whole(self, literal: str) -> Any:
        if len(literal) <= _LONGEST_INT:
            return int(literal)
        return self.decimal(literal)

    def constant(self, literal: str) -> Any:
        self.odd = True
        return _OddNumber(literal, f"{literal} is no JSON")

    def number_out_of_range(self, literal: str) -> Any:
        self.odd = True
        return _OddNumber(literal, "a number beyond what Postgres can hold")


def read_document(body: bytes, charset: str | None = None) -> Document:
    """Parse an answer's body; ``charset`` is taken where it is not UTF-8 (RFC 8259, section 8.1).

    Raises UnreadableError.
    """
    text = _decoded(body, charset)
    try:
        return _parsed(text, careful=False)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"{error.msg} at character {error.pos:,} of {len(text):,}") from None
    except ValueError:
        # A whole number of thousands of digits.
        return _parsed(text, careful=True)
    except RecursionError:
        raise UnreadableError("its arrays and objects are nested too deeply") from None


def _parsed(text: str, *, careful: bool) -> Document:
    hooks = _Hooks()
    root = json.loads(
        text,
        object_pairs_hook=hooks.pairs,
        parse_float=hooks.decimal,
        parse_int=hooks.whole if careful else None,
        parse_constant=hooks.constant,
    )
    suspect = hooks.odd or "\\u0000" in text
    return Document(root, suspect, hooks.repeated)


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if charset is None or charset.lower().replace("-", "") == "utf8":
            raise UnreadableError(f"byte {error.start:,} is no UTF-8") from None
    try:
        return body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        raise UnreadableError(f"it is not written in {charset[:40]!r}, as it says") from None


def compact(value: Any) -> bytes:
    """A value of a document, or of a row, as canonical JSON text."""
    return _encoder.encode(value)


def fingerprint(value: Any) -> bytes:
    """16 bytes that tell one value of a document from another."""
    try:
        text = _encoder.encode(value)
    except UnicodeEncodeError:
        text = repr(value).encode("utf-8", "backslashreplace")
    return blake2b(text, digest_size=16).digest()
