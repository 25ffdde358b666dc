"""``/control``: the switchboard by HTTP, for a server in another process; from this machine only."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from fastapi import FastAPI, Request, Response

from demo.shop.api.answers import ApiProblem, answer, dumped
from demo.shop.api.control import Control
from demo.shop.api.store import Store


class ControlRoutes:
    """Handlers over one switchboard."""

    def __init__(self, store: Store, control: Control) -> None:
        self._store, self._control = store, control

    async def show(self, request: Request) -> Response:
        """``GET /control``: settings, counts, and which orders changed between pages."""
        _local(request)
        churner = self._control.churner
        changed = {
            "inserted": sorted(churner.inserted),
            "deleted": sorted(churner.deleted),
            "updated": sorted(churner.updated),
        }
        counts = self._control.counters.snapshot()
        return answer(
            dumped({"settings": self._control.settings(), "counters": counts, "changed": changed})
        )

    async def change(self, request: Request) -> Response:
        """``PUT /control``: replace groups of settings, ``{"faults": {"server_error": 0.05}}``."""
        groups = await _object(request)
        try:
            self._control.set(groups)
        except ValueError as error:
            raise ApiProblem(422, "bad_settings", str(error)) from None
        return answer(dumped(self._control.settings()))

    async def fail_next(self, request: Request) -> Response:
        """``POST /control/fail-next``: ``{"kind": "drop_after", "count": 1, "path": "/contacts"}``."""
        asked = await _object(request)
        try:
            self._control.fail_next(**asked)
        except (TypeError, ValueError) as error:
            raise ApiProblem(422, "bad_fault", str(error)) from None
        return answer(b"{}")

    async def reset(self, request: Request) -> Response:
        """``POST /control/reset``: no faults, no limits, no counts."""
        _local(request)
        self._control.reset()
        return answer(b"{}")

    async def expire_tokens(self, request: Request) -> Response:
        """``POST /control/expire-tokens``: refuse every credential that was accepted so far."""
        _local(request)
        return answer(dumped({"expired": self._control.expire_tokens()}))


def _local(request: Request) -> None:
    host = request.client.host if request.client else ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ApiProblem(403, "not_local", "the switchboard answers this machine only")


async def _object(request: Request) -> dict[str, Any]:
    _local(request)
    try:
        found = json.loads(await request.body())
    except ValueError as error:
        raise ApiProblem(400, "bad_json", f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiProblem(400, "bad_json", "the body is no object")
    return found


def add_control_routes(app: FastAPI, store: Store, control: Control) -> None:
    """Put the handlers in their places."""
    routes = ControlRoutes(store, control)
    app.add_route("/control", routes.show, methods=["GET"])
    app.add_route("/control", routes.change, methods=["PUT", "PATCH"])
    app.add_route("/control/fail-next", routes.fail_next, methods=["POST"])
    app.add_route("/control/reset", routes.reset, methods=["POST"])
    app.add_route("/control/expire-tokens", routes.expire_tokens, methods=["POST"])
