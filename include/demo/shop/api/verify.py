"""Who may ask: checks of a request's credentials, which ``create_app`` takes as ``verify``.

A verifier gets the request and returns, or raises ``Unauthorized`` or ``Forbidden``. It returns the
client's name (a string), to whom idempotency keys belong; a renewed token must not change it. One
that asks another server is an ``async`` function, or wrapped by ``in_thread``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from demo.shop.api.answers import ApiProblem
from demo.shop.serve import peer_certificate

Verifier = Callable[[Request], Any]


class Unauthorized(ApiProblem):
    """401 with a challenge (RFC 6750, 3): the credentials are missing or no longer good."""

    def __init__(
        self, error: str | None = "invalid_token", detail: str = "", scheme: str = "Bearer"
    ) -> None:
        challenge = f'{scheme} realm="shop"'
        if error:
            challenge += f', error="{error}", error_description="{detail}"'
        super().__init__(401, error or "unauthenticated", detail, {"WWW-Authenticate": challenge})


class Forbidden(ApiProblem):
    """403: the credentials are good, but not for this."""

    def __init__(self, detail: str, scope: str | None = None) -> None:
        challenge = 'Bearer realm="shop", error="insufficient_scope"'
        if scope:
            challenge += f', scope="{scope}"'
        super().__init__(403, "insufficient_scope", detail, {"WWW-Authenticate": challenge})


def nobody(request: Request) -> None:
    """Everybody may ask."""


def api_key(
    key: str, *, place: Literal["header", "query", "cookie"] = "header", name: str = "X-API-Key"
) -> Verifier:
    """One static key, in a header, a query parameter or a cookie."""

    def verify(request: Request) -> None:
        places: dict[str, Mapping[str, str]] = {
            "header": request.headers,
            "query": request.query_params,
            "cookie": request.cookies,
        }
        given = places[place].get(name)
        if given is None:
            raise Unauthorized(None, f"no {name} in the {place}", scheme="ApiKey")
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise Unauthorized(
                "invalid_key", f"the {name} in the {place} is wrong", scheme="ApiKey"
            )

    return verify


def in_thread(verify: Verifier) -> Callable[[Request], Awaitable[Any]]:
    """A verifier that blocks, run where it does not hold up the other requests."""

    async def verify_in_thread(request: Request) -> Any:
        return await run_in_threadpool(verify, request)

    return verify_in_thread


def credential(request: Request) -> str:
    """A digest of what the request shows: the same for the same token, key or certificate."""
    headers = request.headers
    shown = headers.get("authorization") or headers.get("x-api-key") or ""
    shown = shown or request.query_params.get("api_key", "")
    certificate = b"" if shown else peer_certificate(request.scope) or b""
    host = request.client.host if request.client else ""
    return hashlib.sha256((shown or host).encode() + certificate).hexdigest()
