"""What every request passes through: rate limit, credentials, faults, the work, gzip, the counters."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from demo.shop.api.answers import PROBLEM, ApiProblem
from demo.shop.api.chance import Strike
from demo.shop.api.control import Control
from demo.shop.api.counters import DROPPED
from demo.shop.api.store import Store
from demo.shop.api.verify import Unauthorized, Verifier, credential
from demo.shop.api.write_log import WRITES, Arrival, log_refused
from demo.shop.serve import drop

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 16 * 2**20
_WORTH_PACKING = 500  # bytes; below that gzip adds more than it saves
_UNAVAILABLE_SECONDS = 1
_PAGE = b"<!DOCTYPE html><html><head><title>%s</title></head><body><h1>%s</h1></body></html>"


@dataclass
class Answer:
    """A whole answer, before it is sent."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @classmethod
    def of(cls, problem: ApiProblem) -> Answer:
        """A problem as an answer."""
        answer = cls(problem.status, body=problem.body())
        answer.add(problem.headers | {"Content-Type": PROBLEM})
        return answer

    @classmethod
    def page(cls, status: int, title: bytes) -> Answer:
        """HTML where JSON was expected."""
        answer = cls(status, body=_PAGE % (title, title))
        answer.add({"Content-Type": "text/html; charset=utf-8"})
        return answer

    def add(self, headers: dict[str, str]) -> None:
        """More headers; the length is put in when it is sent."""
        self.headers += [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]

    def pack(self, accepted: str) -> None:
        """Compress the body for a client that takes gzip."""
        if "gzip" in accepted and len(self.body) >= _WORTH_PACKING:
            # Level 1: a page of 500 orders in milliseconds.
            self.body = gzip.compress(self.body, 1, mtime=0)
            self.add({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})

    def start(self) -> Message:
        """The first ASGI message."""
        headers = [pair for pair in self.headers if pair[0] != b"content-length"]
        if self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(self.body)))
        return {"type": "http.response.start", "status": self.status, "headers": headers}


class Gate:
    """ASGI middleware around the routes; ``/control`` goes past it."""

    def __init__(self, app: Any, store: Store, control: Control, verify: Verifier) -> None:
        self._app = app
        self._store, self._control, self._verify = store, control, verify

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/control"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        client = credential(request)
        verdict = self._control.limiter.take(client, self._control.limit)
        counters = self._control.counters
        counters.begin(limited=not verdict.admitted)
        strike, answer = Strike(), None
        try:
            arrival = await _read(request, client)
            if verdict.admitted:
                strike, answer = await self._admit(request, arrival)
            else:
                answer = self._refuse(arrival, _limited(self._control.limit.status))
        except ClientDisconnect:
            return  # in the middle of its body: nothing was done, and nobody is left to be told
        finally:
            # Before a byte is sent: whoever has the answer finds it counted.
            cut = strike.kind == "half_body"
            status = DROPPED if answer is None or cut else answer.status
            counters.end(scope["method"], scope["path"], status, strike.kind)
        if answer is None:
            await drop(scope, receive)
        else:
            answer.add(verdict.headers)
            await self._send(request, answer, strike, receive, send)

    async def _admit(self, request: Request, arrival: Arrival) -> tuple[Strike, Answer | None]:
        """Credentials, fault, work; no answer when the connection is to be dropped."""
        problem = await self._unwelcome(request, arrival)
        if problem:
            return Strike(), self._refuse(arrival, problem)
        strike = self._control.chance.draw(
            self._control.faults, arrival.method, arrival.path, arrival.identity
        )
        if strike.seconds:
            await asyncio.sleep(strike.seconds)
        if strike.before:
            answer = _instead(strike.kind)
            log_refused(self._store, arrival, "failed_before", answer.status if answer else None)
            return strike, answer
        arrival.strike = strike
        answer = await self._work(request.scope)
        if strike.kind == "error_after":
            answer = Answer.of(ApiProblem(500, "internal", "something went wrong"))
        # An answer without a body, such as a 204, can only be spoilt by not sending it.
        lost = strike.kind == "drop_after" or (strike.after and not answer.body)
        return strike, None if lost else answer

    def _refuse(self, arrival: Arrival, problem: ApiProblem) -> Answer:
        log_refused(self._store, arrival, "refused", problem.status)
        return Answer.of(problem)

    async def _unwelcome(self, request: Request, arrival: Arrival) -> ApiProblem | None:
        """The problem with a request's credentials or size, if it has one."""
        if len(arrival.body) > _MOST_BYTES:
            return ApiProblem(413, "too_large", f"a body has at most {_MOST_BYTES} bytes")
        try:
            if self._control.expired(arrival.client):
                raise Unauthorized("invalid_token", "the token expired")
            verified = self._verify(request)
            if inspect.isawaitable(verified):
                verified = await verified
        except ApiProblem as problem:
            if problem.status == 401:
                self._control.counters.refused(problem.code)
            return problem
        self._control.accepted(arrival.client)
        arrival.owner = verified if isinstance(verified, str) else ""
        return None

    async def _work(self, scope: Message) -> Answer:
        """Let the routes answer, and keep what they say."""
        answer = Answer()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message["headers"])
            else:
                answer.body += message.get("body", b"")

        try:
            await self._app(scope, _nothing_more, keep)
        except Exception:
            # The framework has answered 500 by now; uvicorn would say no more than that.
            _LOG.exception("%s %s failed", scope["method"], scope["path"])
        return answer

    async def _send(
        self, request: Request, answer: Answer, strike: Strike, receive: Receive, send: Send
    ) -> None:
        """Send the answer, spoilt if a fault says so."""
        if strike.kind == "wrong_json":
            # Whole as far as HTTP can tell.
            answer.body = answer.body[: max(1, len(answer.body) * 2 // 3)]
        answer.pack(request.headers.get("accept-encoding", ""))
        await send(answer.start())
        if strike.kind == "half_body" and len(answer.body) > 1:
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            await drop(request.scope, receive, flush=True)
            return
        await send({"type": "http.response.body", "body": answer.body})


async def _nothing_more() -> Message:
    """The body was read already."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def _read(request: Request, client: str) -> Arrival:
    """The whole request; the routes find it in ``request.state.arrival``."""
    method, path, query = (request.scope[name] for name in ("method", "path", "query_string"))
    body = await request.body() if method in WRITES else b""
    key = request.headers.get("idempotency-key")
    identity = b"|".join((method.encode(), path.encode(), query, (key or "").encode(), body))
    digest = hashlib.sha256(body).hexdigest()
    arrival = Arrival(method, path, client, key, body, digest, identity)
    request.state.arrival = arrival
    return arrival


def _limited(status: int) -> ApiProblem:
    return ApiProblem(status, "rate_limited", "too many requests; wait as Retry-After says")


def _instead(kind: str | None) -> Answer | None:
    """What a fault answers instead of the work; None drops the connection."""
    if kind == "server_error":
        return Answer.of(ApiProblem(500, "internal", "something went wrong"))
    if kind == "bad_gateway":
        return Answer.of(ApiProblem(502, "bad_gateway", "the shop did not answer"))
    if kind == "unavailable":
        wait = {"Retry-After": str(math.ceil(_UNAVAILABLE_SECONDS))}
        return Answer.of(ApiProblem(503, "unavailable", "back in a moment", wait))
    if kind == "html_error":
        return Answer.page(502, b"502 Bad Gateway")
    if kind == "html_page":
        return Answer.page(200, b"Please sign in")
    return None
