"""What the audit learns of two databases, as plain values that the compiler works on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PgType:
    """A Postgres type as the catalogs describe it.

    ``sql`` is ``format_type()`` with its modifier, ready for a cast (``numeric(10,2)``, ``text[]``);
    ``name`` is ``pg_type.typname`` (``numeric``, ``_text``); ``kind`` is ``typtype``: b base, c composite,
    d domain, e enum, m multirange, p pseudo, r range; ``category`` is ``typcategory``; ``modifier`` is
    ``atttypmod`` (-1 for none); ``builtin`` says that every server knows the type under the same oid;
    ``base`` is the type under a domain; ``element`` is the type of an array's elements.
    """

    sql: str
    name: str
    kind: str = "b"
    category: str = "U"
    modifier: int = -1
    builtin: bool = True
    base: PgType | None = None
    element: PgType | None = None

    @property
    def precision(self) -> int | None:
        """Digits of a ``numeric(p,s)``; None without a modifier."""
        return ((self.modifier - 4) >> 16) & 0xFFFF if self._is_sized("numeric") else None

    @property
    def scale(self) -> int | None:
        """Decimals of a ``numeric(p,s)``, negative allowed; None without a modifier."""
        if not self._is_sized("numeric"):
            return None
        scale = (self.modifier - 4) & 0x7FF
        return scale - 2048 if scale >= 1024 else scale

    @property
    def length(self) -> int | None:
        """Characters of a ``varchar(n)`` or ``char(n)``; None without a modifier."""
        if self._is_sized("varchar") or self._is_sized("bpchar"):
            return self.modifier - 4
        return None

    def _is_sized(self, name: str) -> bool:
        return self.name == name and self.modifier >= 4


@dataclass(frozen=True)
class ColumnFact:
    """One column of a relation. ``identity`` is ``attidentity`` ('' for none)."""

    name: str
    type: PgType
    nullable: bool = True
    has_default: bool = False
    generated: bool = False
    identity: str = ""
    deterministic_collation: bool = True
