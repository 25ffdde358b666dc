"""What the API answers with: JSON made of ready bytes, and problems (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response

JSON = "application/json"
PROBLEM = "application/problem+json"


class ApiProblem(Exception):
    """A request that is answered with an error; ``code`` is for programs, ``detail`` for people."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The problem document."""
        return dumped({"status": self.status, "code": self.code, "detail": self.detail})

    def response(self) -> Response:
        """The whole answer."""
        return Response(self.body(), self.status, self.headers, PROBLEM)


def dumped(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that is ready."""
    return Response(body, status, dict(headers or {}), JSON)


def enveloped(bodies: list[bytes], beside: Mapping[str, Any]) -> bytes:
    """``{"data": [...], ...}``: the records as they are stored, and what stands beside them."""
    tail = dumped(beside)[1:]
    return b'{"data":[' + b",".join(bodies) + b"]" + (b"," if beside else b"") + tail
