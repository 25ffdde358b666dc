"""The endpoints that a person's browser visits: /authorize and /device.

Somebody is always signed in (``USERS``); what is shown here is consent. A form carries a ticket for
one use, which works only with the cookie that came with it, so no other site can post it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2 import OAuth2Error
from authlib.oidc.core import errors as oidc_errors
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from demo.shop.authserver import pages
from demo.shop.authserver.provider import Provider
from demo.shop.authserver.requests import Answer, ServerRequest
from demo.shop.authserver.store import USERS, User

_COOKIE = "consent"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
TICKET_LIFETIME = 600
MAX_BODY = 64 * 1024


@dataclass(frozen=True)
class _Ticket:
    cookie: str
    until: float
    asked: ServerRequest | None
    user: User


class Browser:
    """Asks for consent, once per ticket."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._tickets: dict[str, _Ticket] = {}
        self.user = USERS["ada"]

    async def authorize(self, request: Request) -> Response:
        """RFC 6749 section 3.1: a question, or at once a redirect if consent is automatic."""
        if request.method == "POST":
            return await self._decided(request)
        url = self._provider.issuer + request.url.path
        asked = ServerRequest("GET", url, request.headers, _query(request))
        with self._provider.store.lock:
            try:
                grant = self._provider.consent(asked, self.user)
                if self._provider.control.auto_consent:
                    return _redirect(self._provider.decision(asked, self.user, grant))
                if asked.payload.data.get("prompt") == "none":
                    raise oidc_errors.ConsentRequiredError(
                        redirect_uri=grant.redirect_uri, state=asked.payload.state
                    )
            except OAuth2Error as error:
                return _redirect(self._provider.authorization_error(asked, error))
            scopes = (asked.scope or "").split()
            return self._ask(
                request,
                asked,
                lambda ticket: pages.consent(asked.client.name, self.user, scopes, ticket),
            )

    async def _decided(self, request: Request) -> Response:
        form = await _form(request)
        ticket = self._redeem(request, form)
        if ticket is None or ticket.asked is None:
            return _stale()
        with self._provider.store.lock:
            asked = ticket.asked
            try:
                grant = self._provider.consent(asked, ticket.user)
            except OAuth2Error as error:
                return _redirect(self._provider.authorization_error(asked, error))
            user = ticket.user if form.get("decision") == "allow" else None
            return _redirect(self._provider.decision(asked, user, grant))

    async def device(self, request: Request) -> Response:
        """RFC 8628 section 3.3: where a person types the code that a device shows."""
        if request.method == "GET":
            code = request.query_params.get("user_code", "")
            return self._ask(request, None, lambda ticket: pages.device(ticket, code))
        form = await _form(request)
        if self._redeem(request, form) is None:
            return _stale()
        allow = form.get("decision") == "allow"
        control = self._provider.control
        decide = control.approve_device if allow else control.deny_device
        if not decide(form.get("user_code", ""), self.user.sub):
            text = "No device waits for this code. Look at the device again."
            return HTMLResponse(pages.message("Unknown code", text), 404, _HEADERS)
        text = "The device may go on." if allow else "The device was refused."
        return HTMLResponse(pages.message("Done", text), 200, _HEADERS)

    def _ask(
        self, request: Request, asked: ServerRequest | None, render: Callable[[str], str]
    ) -> Response:
        now = self._provider.clock.now()
        ticket, cookie = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        cookie = request.cookies.get(_COOKIE, cookie)
        with self._provider.store.lock:
            self._tickets = {key: one for key, one in self._tickets.items() if one.until > now}
            self._tickets[ticket] = _Ticket(cookie, now + TICKET_LIFETIME, asked, self.user)
        response = HTMLResponse(render(ticket), 200, _HEADERS)
        secure = request.url.scheme == "https"
        response.set_cookie(_COOKIE, cookie, httponly=True, samesite="lax", secure=secure)
        return response

    def _redeem(self, request: Request, form: dict[str, str]) -> _Ticket | None:
        with self._provider.store.lock:
            ticket = self._tickets.pop(form.get("ticket", ""), None)
        if ticket is None or ticket.until <= self._provider.clock.now():
            return None
        cookie = request.cookies.get(_COOKIE, "")
        return ticket if secrets.compare_digest(ticket.cookie.encode(), cookie.encode()) else None


def _query(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.url.query, keep_blank_values=True)


async def limited_body(request: Request) -> str:
    """The body as text; what goes beyond the limit, or is no UTF-8, makes a wrong form of it."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return ""
    return body.decode(errors="replace")


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(await limited_body(request)))


def _stale() -> Response:
    text = "This form was sent before, is too old, or comes from elsewhere. Start again."
    return HTMLResponse(pages.message("Start again", text), 400, _HEADERS)


def _redirect(answer: Answer) -> Response:
    headers: dict[str, Any] = {**answer.headers, "Cache-Control": "no-store"}
    if location := headers.get("Location"):
        return RedirectResponse(location, 302, {"Cache-Control": "no-store"})
    headers.pop("Content-Type", None)
    return JSONResponse(answer.body, answer.status, headers)
