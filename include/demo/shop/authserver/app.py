"""The server over HTTP: routes, faults, headers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from cryptography import x509
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from demo.shop.authserver.browser import Browser, limited_body
from demo.shop.authserver.connections import client_certificate, drop_connection
from demo.shop.authserver.control import Fault
from demo.shop.authserver.discovery import metadata
from demo.shop.authserver.panel import panel
from demo.shop.authserver.provider import Provider
from demo.shop.authserver.requests import Answer, ServerRequest
from demo.shop.authserver.tokens import certificate_thumbprint, user_claims

Handler = Callable[[Request], Awaitable[Response]]
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def create_app(provider: Provider, *, tls: bool) -> Any:
    """The ASGI application of one authorization server."""
    site = _Site(provider, tls)
    browser = Browser(provider)
    post, get = ["POST"], ["GET"]
    machine = {
        "/token": ("token", site.token),
        "/introspect": ("introspection", site.endpoint("introspection")),
        "/revoke": ("revocation", site.endpoint("revocation")),
        "/device_authorization": ("device_authorization", site.endpoint("device_authorization")),
    }
    routes = [
        Route(path, site.faulty(name, handler), methods=post)
        for path, (name, handler) in machine.items()
    ]
    if tls:
        routes += [
            Route(
                f"/mtls{path}",
                site.faulty(f"mtls_{name}", site.with_certificate(handler)),
                methods=post,
            )
            for path, (name, handler) in machine.items()
        ]
    for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"):
        routes.append(Route(path, site.faulty("discovery", site.discovery), methods=get))
    routes += [
        Route("/jwks", site.faulty("jwks", site.jwks), methods=get),
        Route("/userinfo", site.faulty("userinfo", site.userinfo), methods=[*get, *post]),
        Route("/authorize", site.faulty("authorize", browser.authorize), methods=[*get, *post]),
        Route("/device", browser.device, methods=[*get, *post]),
        Route("/control", panel(provider.control), methods=[*get, *post]),
    ]
    return _dated(Starlette(routes=routes), provider)


def _dated(app: Any, provider: Provider) -> Any:
    """Sends the Date of the server's own clock, which may be off."""

    async def dated(scope: Any, receive: Any, send: Any) -> None:
        async def send_dated(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Date"] = formatdate(provider.clock.now(), usegmt=True)
            await send(message)

        await app(scope, receive, send_dated)

    return dated


def http_response(answer: Answer) -> Response:
    """Starlette's response to an answer; never to be stored by anybody on the way."""
    headers = NO_STORE | answer.headers
    if isinstance(answer.body, str):
        return Response(answer.body, answer.status, headers)
    headers.pop("Content-Type", None)
    return JSONResponse(answer.body, answer.status, headers)


class _Site:
    """The endpoints that programs use."""

    def __init__(self, provider: Provider, tls: bool) -> None:
        self._provider, self._tls = provider, tls

    async def _read(self, request: Request) -> ServerRequest:
        """The parameters of the body; those of a URL end up in logs and are left alone."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        form = kind == "application/x-www-form-urlencoded"
        pairs = parse_qsl(await limited_body(request), keep_blank_values=True) if form else []
        return ServerRequest(
            request.method,
            self._provider.issuer + request.url.path,
            request.headers,
            pairs,
            client_certificate(request.scope),
        )

    async def token(self, request: Request) -> Response:
        asked = await self._read(request)
        with self._provider.store.lock:
            return http_response(self._provider.token(asked))

    def endpoint(self, name: str) -> Handler:
        """The handler of one of Authlib's further endpoints."""

        async def respond(request: Request) -> Response:
            asked = await self._read(request)
            with self._provider.store.lock:
                return http_response(self._provider.endpoint(name, asked))

        return respond

    def with_certificate(self, handler: Handler) -> Handler:
        """Lets nobody in without a client certificate."""

        async def respond(request: Request) -> Response:
            if client_certificate(request.scope) is None:
                error = {"error": "invalid_client", "error_description": "No client certificate."}
                return JSONResponse(error, 401, NO_STORE)
            return await handler(request)

        return respond

    async def discovery(self, request: Request) -> Response:
        return JSONResponse(metadata(self._provider, tls=self._tls))

    async def jwks(self, request: Request) -> Response:
        with self._provider.store.lock:
            return JSONResponse(self._provider.keys.public_jwks())

    async def userinfo(self, request: Request) -> Response:
        """OpenID Connect Core section 5.3; a bound token needs its certificate."""
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text:
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        with self._provider.store.lock:
            token = self._provider.store.access(text.strip())
            if token is None or not token.active or not _bound_to(token, request):
                return _bearer_error(401, "invalid_token")
            if token.user is None or "openid" not in token.scope.split():
                return _bearer_error(403, "insufficient_scope")
            return JSONResponse(user_claims(token.user, token.scope), headers=NO_STORE)

    def faulty(self, name: str, handler: Handler) -> Handler:
        """The handler, misbehaving when the control says so."""
        control = self._provider.control

        async def respond(request: Request) -> Response:
            fault = control.take(name)
            if fault is None:
                return await handler(request)
            if fault.kind == "drop_after":
                await handler(request)
            elif name in ("token", "mtls_token"):
                asked = await self._read(request)
                with self._provider.store.lock:
                    self._provider.count(asked, fault.error or fault.kind)
            return await _misbehave(fault, request)

        return respond


def _bound_to(token: Any, request: Request) -> bool:
    certificate: x509.Certificate | None = client_certificate(request.scope)
    return token.thumbprint is None or token.thumbprint == certificate_thumbprint(certificate)


def _bearer_error(status: int, error: str) -> Response:
    challenge = f'Bearer error="{error}"'
    return JSONResponse({"error": error}, status, {**NO_STORE, "WWW-Authenticate": challenge})


async def _misbehave(fault: Fault, request: Request) -> Response:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    match fault.kind:
        case "unavailable":
            return Response("Service unavailable", 503, headers)
        case "throttled":
            return JSONResponse({"error": "too_many_requests"}, 429, headers)
        case "oauth_error":
            return JSONResponse({"error": fault.error}, 400, NO_STORE)
        case "wrong_json":
            return Response('{"access_token": "', 200, media_type="application/json")
        case "no_token":
            return JSONResponse({"token_type": "Bearer"})
        case "html":
            return HTMLResponse("<html><body>Maintenance until noon</body></html>")
        case "hang":
            await _gone_or(request, fault.seconds)
    drop_connection(request.scope)
    return Response(status_code=500)


async def _gone_or(request: Request, seconds: float) -> None:
    """Wait until the client hangs up, or so long."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(gone(), seconds)
    except TimeoutError:
        return
