"""Which server a URL names."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str:
    """``scheme://host:port`` in lower case, the port always said (RFC 6454 §4)."""
    split = urlsplit(url)
    scheme = split.scheme.lower()
    host = (split.hostname or "").rstrip(".")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{split.port or _PORTS.get(scheme, 0)}"


def is_local(host: str | None) -> bool:
    """Whether a host is this machine, by its name or a loopback address (RFC 8252 §8.3)."""
    if host is None:
        return False
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_query(url: str) -> str:
    """A URL for messages: no query, fragment or user."""
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return split._replace(netloc=host, query="", fragment="").geturl()
