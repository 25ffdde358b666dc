"""The shop's API and the marketing API as one ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from demo.shop.api.answers import ApiProblem
from demo.shop.api.contact_routes import add_contact_routes
from demo.shop.api.control import Control
from demo.shop.api.control_routes import add_control_routes
from demo.shop.api.gate import Gate
from demo.shop.api.shop_routes import add_shop_routes
from demo.shop.api.store import Store
from demo.shop.api.verify import Verifier, nobody


def create_app(store: Store, control: Control | None = None, verify: Verifier | None = None) -> Any:
    """The application over a store; ``verify`` says who may ask (verify.py), by default everybody."""
    control = control or Control()
    app = FastAPI(title="Shop", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(ApiProblem, _tell)
    add_shop_routes(app, store, control)
    add_contact_routes(app, store, control)
    add_control_routes(app, store, control)
    return Gate(app, store, control, verify or nobody)


async def _tell(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, ApiProblem)
    return problem.response()
