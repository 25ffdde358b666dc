"""The shop's reading side: orders, their lines, customers and products."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response

from demo.shop.api.answers import ApiProblem, answer
from demo.shop.api.collection import Collection
from demo.shop.api.control import Control
from demo.shop.api.paging import Listing
from demo.shop.api.store import Store


class ShopRoutes:
    """Handlers over one store. They run in the server's only thread: SQLite answers in microseconds."""

    def __init__(self, store: Store, control: Control) -> None:
        self._store, self._control = store, control

    async def orders(self, request: Request) -> Response:
        """``GET /orders``: a page of orders."""
        return self._orders(request, dict(request.query_params))

    async def search(self, request: Request) -> Response:
        """``POST /orders/search``: the same, with the parameters as a JSON object in the body."""
        try:
            asked = json.loads(request.state.arrival.body)
        except ValueError as error:
            raise ApiProblem(400, "bad_json", f"the body is no JSON: {error}") from None
        if not isinstance(asked, dict):
            raise ApiProblem(400, "bad_json", "the body is no object")
        given = {name: str(value) for name, value in asked.items() if value is not None}
        return self._orders(request, given)

    def _orders(self, request: Request, asked: Mapping[str, str]) -> Response:
        page = self._page(request, Collection.of(self._store, "orders", asked), asked)
        self._control.churner.after_page(self._store, self._control.churn)
        return page

    async def order(self, request: Request) -> Response:
        """``GET /orders/{id}``: one order."""
        return self._one("orders", _number(request))

    async def lines(self, request: Request) -> Response:
        """``GET /orders/{id}/lines``: the lines of an order, a list like the others."""
        number = _number(request)
        self._one("orders", number)
        asked = dict(request.query_params)
        if asked.get("style") == "keyset_updated":
            raise ApiProblem(400, "bad_style", "lines have no updated_at; use style=keyset")
        return self._page(request, Collection.lines(self._store, number), asked)

    async def customers(self, request: Request) -> Response:
        """``GET /customers``: a page of customers."""
        return self._listed(request, "customers")

    async def customer(self, request: Request) -> Response:
        """``GET /customers/{id}``: one customer."""
        return self._one("customers", _number(request))

    async def products(self, request: Request) -> Response:
        """``GET /products``: a page of products."""
        return self._listed(request, "products")

    async def product(self, request: Request) -> Response:
        """``GET /products/{id}``: one product."""
        return self._one("products", _number(request))

    def _listed(self, request: Request, table: str) -> Response:
        asked = dict(request.query_params)
        return self._page(request, Collection.of(self._store, table, asked), asked)

    def _page(self, request: Request, rows: Collection, asked: Mapping[str, str]) -> Response:
        origin = f"{request.url.scheme}://{request.url.netloc}"
        path = request.url.path.removesuffix("/search")
        return Listing.read(rows, self._control.pages, asked, origin, path).response()

    def _one(self, table: str, number: int) -> Response:
        body: Any = self._store.value(
            f"SELECT CAST(body AS BLOB) FROM {table} WHERE id = ?", (number,)
        )
        if body is None:
            raise ApiProblem(404, "not_found", f"there is no {table[:-1]} {number}")
        return answer(body)


def _number(request: Request) -> int:
    text = request.path_params["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ApiProblem(404, "not_found", f"{text!r} is no number of a record")
    return int(text)


def add_shop_routes(app: FastAPI, store: Store, control: Control) -> None:
    """Put the handlers in their places."""
    routes = ShopRoutes(store, control)
    app.add_route("/orders", routes.orders, methods=["GET"])
    app.add_route("/orders/search", routes.search, methods=["POST"])
    app.add_route("/orders/{id}", routes.order, methods=["GET"])
    app.add_route("/orders/{id}/lines", routes.lines, methods=["GET"])
    app.add_route("/customers", routes.customers, methods=["GET"])
    app.add_route("/customers/{id}", routes.customer, methods=["GET"])
    app.add_route("/products", routes.products, methods=["GET"])
    app.add_route("/products/{id}", routes.product, methods=["GET"])
