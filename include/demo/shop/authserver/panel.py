"""The control over HTTP, for a server that runs as a process of its own; loopback only."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from demo.shop.authserver.control import ACTIONS, SWITCHES, Control


def panel(control: Control) -> Callable[[Request], Awaitable[Response]]:
    """The handler of ``/control``.

    GET answers ``Control.state()``. POST takes ``{"set": {switch: value, …}, "call": action,
    "with": {argument: value, …}}``, either part alone too, and answers the state with the
    action's ``result``.
    """

    async def respond(request: Request) -> Response:
        if not _is_local(request):
            return Response(status_code=404)
        if request.method == "GET":
            return JSONResponse(control.state())
        # A page in a browser cannot send this type to another origin without asking first.
        if request.headers.get("content-type") != "application/json":
            return JSONResponse({"error": "Send Content-Type: application/json."}, 415)
        try:
            result = _apply(control, json.loads(await request.body()))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({**control.state(), "result": result})

    return respond


def _apply(control: Control, order: dict[str, Any]) -> Any:
    for name, value in order.get("set", {}).items():
        if name not in SWITCHES:
            raise ValueError(f"set: {name!r} is no switch; allowed: {', '.join(SWITCHES)}.")
        setattr(control, name, value)
    action = order.get("call")
    if action is None:
        return None
    if action not in ACTIONS:
        raise ValueError(f"call: {action!r} is no action; allowed: {', '.join(ACTIONS)}.")
    return getattr(control, action)(**order.get("with", {}))


def _is_local(request: Request) -> bool:
    """True for a peer on loopback that also names a loopback host, not one rebound to it by DNS."""
    peer = request.client.host if request.client else ""
    host = request.url.hostname or ""
    return all(host == "localhost" or _is_loopback(host) for host in (peer, host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
