"""Addresses: whose they are, and how they may be shown."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SECRET_NAME = re.compile(r"key|token|secret|sig|auth|pass|pwd|credential|session", re.IGNORECASE)
_LONGEST_VALUE = 80


def origin(url: str) -> str:
    """Scheme, host and port of an address (RFC 6454, section 4)."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower(), 0)
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}:{port}"


def resolve(base: str, reference: str) -> str:
    """The absolute address that a reference means (RFC 3986, section 5); raises ValueError."""
    url = urljoin(base, reference.strip())
    parts = urlsplit(url)
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("it is no http address")
    _ = parts.port  # raises for a port that is no number
    return parts._replace(fragment="").geturl()


def shown(url: str, known: Collection[str] = ()) -> str:
    """The address without user, password, fragment, and values of parameters that are not known.

    What a mapping declares holds no secret; what authentication or the server adds may be one.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = f"{parts.scheme}://{host}" if host else ""
    if host and parts.port:
        address += f":{parts.port}"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{quote(name)}={_value(name, text, known)}" for name, text in pairs)
    return address + parts.path + (f"?{query}" if query else "")


def _value(name: str, text: str, known: Collection[str]) -> str:
    if name not in known or (_SECRET_NAME.search(name) and name not in _PAGING_NAMES):
        return "…"
    return quote(text[:_LONGEST_VALUE], safe=":,") + ("…" if len(text) > _LONGEST_VALUE else "")


# Names with "token" that say where a page begins.
_PAGING_NAMES = frozenset(["page_token", "pageToken", "next_token", "nextToken"])
