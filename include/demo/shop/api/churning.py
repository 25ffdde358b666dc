"""Changes the orders while somebody reads them page by page."""

from __future__ import annotations

import json
import random
import threading

from demo.shop.api.settings import Churn
from demo.shop.api.store import COLUMNS, Store
from demo.shop.api.timestamps import now


class Churner:
    """Inserts, deletes and updates orders between pages, and remembers which: the test's answer key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget the pages that were counted and the orders that were changed."""
        with self._lock:
            self._pages = 0
            self._done = 0
            self.inserted: set[int] = set()
            self.deleted: set[int] = set()
            self.updated: set[int] = set()

    def after_page(self, store: Store, churn: Churn) -> None:
        """One more page of orders went out: change what the settings say."""
        if churn.every is None:
            return
        with self._lock:
            self._pages += 1
            spent = churn.times is not None and self._done >= churn.times
            if spent or self._pages % churn.every:
                return
            self._done += 1
            draw = random.Random(churn.seed * 1_000_003 + self._done)
            for _ in range(churn.rows):
                self._change(store, churn.kind, draw)

    def _change(self, store: Store, kind: str, draw: random.Random) -> None:
        if kind == "mixed":
            kind = draw.choice(("insert", "delete", "update"))
        highest = store.value("SELECT max(id) FROM orders") or 0
        if highest < 2:
            return
        # Never the newest: its number would be given again.
        chosen = store.value(
            "SELECT id FROM orders WHERE id <= ? ORDER BY id DESC LIMIT 1",
            (draw.randint(1, highest - 1),),
        )
        if chosen is None:
            return
        if kind == "insert":
            self.inserted.add(copy_order(store, chosen))
        elif kind == "delete":
            store.delete_orders([chosen])
            self.deleted.add(chosen)
        else:
            store.change_order(chosen, "status", json.dumps(draw.choice(("paid", "refunded"))))
            self.updated.add(chosen)


def copy_order(store: Store, order_id: int, at: str | None = None) -> int:
    """A new order like another one, created at ``at`` (now); returns its number."""
    at = at or now()
    with store.writing() as connection:
        (new,) = connection.execute("SELECT max(id) + 1 FROM orders").fetchone()
        connection.execute(
            f"INSERT INTO orders ({COLUMNS}, customer_id, status)"
            " SELECT ?1, ?2, ?2, json_set(body, '$.id', ?1, '$.number', printf('SO-%08d', ?1),"
            " '$.created_at', ?2, '$.updated_at', ?2), customer_id, status FROM orders WHERE id = ?3",
            (new, at, order_id),
        )
    return int(new)
