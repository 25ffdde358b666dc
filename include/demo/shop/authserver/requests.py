"""What Authlib's server framework takes and gives, made from what Starlette has.

Authlib has such a pair for Flask and for Django; this is the one for ASGI. The body is read before,
so that everything from here on runs in one piece under the store's lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request
from cryptography import x509

Pairs = Iterable[tuple[str, str]]
# RFC 8693 section 2.1 and RFC 8707 section 2 let these two come more than once.
REPEATABLE = frozenset({"resource", "audience"})


class Payload(OAuth2Payload):
    """The parameters of one request; ``data`` has the first value of each."""

    def __init__(self, pairs: Pairs) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            # RFC 6749 section 3.1: a parameter without a value counts as left out.
            if value:
                self._lists[name].append(value)
        self._data = {name: values[0] for name, values in self._lists.items()}

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._lists


class ServerRequest(OAuth2Request):
    """One request to an endpoint: its parameters, and the certificate that the peer showed."""

    def __init__(
        self,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        pairs: Pairs,
        certificate: x509.Certificate | None = None,
    ) -> None:
        super().__init__(method, uri, headers=headers)
        self.payload = Payload(pairs)
        self.certificate = certificate

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data

    @property
    def args(self) -> dict[str, str]:
        return self.payload.data

    def values(self, name: str) -> list[str]:
        """All values of a parameter."""
        return list(self.payload.datalist.get(name, ()))

    def refuse_repeated(self) -> None:
        """RFC 6749 section 3.2: no parameter of the token endpoint may come twice."""
        for name, values in self.payload.datalist.items():
            if len(values) > 1 and name not in REPEATABLE:
                raise InvalidRequestError(description="A parameter was sent more than once.")


@dataclass
class Answer:
    """A status, a body (JSON unless it is text) and headers."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """The error that it tells of, "ok" if none."""
        return str(self.body.get("error", "ok")) if isinstance(self.body, dict) else "ok"
