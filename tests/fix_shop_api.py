"""The demo shop as a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.shop.api import ShopServer, Size, Store, fill


@pytest.fixture(scope="session")
def shop_running() -> Iterator[ShopServer]:
    with Store() as store:
        fill(store, Size(orders=500))
        with ShopServer(store) as server:
            yield server


@pytest.fixture
def shop_api(shop_running: ShopServer) -> ShopServer:
    """A shop of 500 orders without faults or contacts; tests leave the orders as they are."""
    shop_running.control.reset()
    with shop_running.store.writing() as connection:
        for table in ("contacts", "contact_change", "request_log", "answer"):
            connection.execute(f"DELETE FROM {table}")
    return shop_running


@pytest.fixture
def changing_shop() -> Iterator[ShopServer]:
    """A shop of 300 orders of its own, for tests that change them."""
    with Store() as store:
        fill(store, Size(orders=300))
        with ShopServer(store) as server:
            yield server
