"""Two syncs under Airflow: the web shop's orders into the new database, its customers to marketing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from demo.shop.service import ShopService
from demo.show.errors import DemoError
from demo.stack import Stack, StackError

Say = Callable[[str], None]

SYNCS = ("shop_orders", "marketing_contacts")
# The shop's data is of one year.
_WINDOW = {"from": "2017-01-01T00:00:00+00:00", "to": "2018-01-01T00:00:00+00:00"}
_TABLES = Path(__file__).parents[1] / "shop" / "target.sql"
_RUN_SECONDS = 600
_DAG_SECONDS = 120


def run_syncs(stack: Stack, say: Say, *, fresh: bool) -> None:
    """Start the shop, run both syncs, and compare both ends; raises DemoError where they differ."""
    shop = stack.shop
    say("")
    say("The web shop and the marketing system are started ...")
    with psycopg.connect(stack.dsn("commerce"), autocommit=True) as home:
        if fresh:
            shop.forget()
            home.execute("DROP SCHEMA IF EXISTS web CASCADE")
        home.execute(_TABLES.read_text(encoding="utf-8"))
    shop.start()
    stack.airflow.store_connections(shop.connections, False, "shop-connections")
    runs = {
        name: _run(stack, f"sync__{name}", _WINDOW if name == "shop_orders" else {}, say)
        for name in SYNCS
    }
    with psycopg.connect(stack.dsn("commerce"), autocommit=True) as home:
        _tell(home, runs, say)
        _judge(home, shop, say)


def _run(stack: Stack, dag: str, conf: dict[str, str], say: Say) -> str:
    """Trigger one run, and wait for its end; returns its id."""
    base = f"/api/v2/dags/{dag}"
    _wait(lambda: _known(stack, base), _DAG_SECONDS, f"Airflow does not know {dag}")
    stack.airflow.api("PATCH", base, {"is_paused": False})
    body = {"logical_date": None, "conf": conf, "note": "Started by the demo."}
    run_id = str(stack.airflow.api("POST", f"{base}/dagRuns", body)["dag_run_id"])
    path = f"{base}/dagRuns/{quote(run_id, safe='')}"
    say(f"{dag}: {stack.airflow.url}/dags/{dag}/runs/{quote(run_id, safe='')}")
    _wait(lambda: _state(stack, path) in ("success", "failed"), _RUN_SECONDS, f"{dag} does not end")
    if _state(stack, path) != "success":
        failed = stack.airflow.api("GET", f"{path}/taskInstances?state=failed")["task_instances"]
        names = ", ".join(task["task_id"] for task in failed)
        raise DemoError(
            f"{dag} failed in {names}: the tasks' pages say why. Then run the demo again"
        )
    return run_id


def _known(stack: Stack, base: str) -> bool:
    try:
        return bool(stack.airflow.api("GET", base))
    except StackError as error:
        if " 404" not in str(error):
            raise
        return False


def _state(stack: Stack, path: str) -> str:
    return str(stack.airflow.api("GET", path)["state"])


def _wait(ready: Callable[[], bool], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise DemoError(f"{problem} after {seconds:.0f} s: look at the logs under .sinew/logs")
        time.sleep(1)


# --- what came of it

_DONE = """
SELECT b.mapping, b.entity, b.source_rows, b.loaded_rows, coalesce(b.unchanged_rows, 0), b.rejected_rows,
       coalesce(b.deleted_rows, 0)
FROM sinew.batch AS b
WHERE b.window_id IN (SELECT w.id FROM sinew."window" AS w JOIN unnest(%s::text[], %s::text[]) AS run (mapping, id)
                      ON w.mapping = run.mapping AND w.run_id = run.id)
  AND b.state = 'validated'
ORDER BY b.id
"""
_HEAD = ("sync", "entity", "read", "written", "unchanged", "rejected", "gone")


def _tell(home: psycopg.Connection, runs: dict[str, str], say: Say) -> None:
    rows = [_HEAD, *home.execute(_DONE, (list(runs), list(runs.values()))).fetchall()]
    say("")
    for row in rows:
        numbers = "".join(f"{_shown(value):>11}" for value in row[2:])
        say(f"{row[0]:<20}{row[1]:<13}{numbers}")


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value or 0)


def _judge(home: psycopg.Connection, shop: ShopService, say: Say) -> None:
    """Both ends, asked without Sinew: the shop's own files against the new database."""
    orders = _own(shop.home / "shop.sqlite", "SELECT count(*) FROM orders")
    ours = home.execute("SELECT count(*) FROM web.orders WHERE withdrawn_at IS NULL").fetchone()
    contacts = _own(shop.home / "marketing.sqlite", "SELECT count(*) FROM contacts")
    wanted = home.execute(
        "SELECT count(*) FROM commerce.customers WHERE marketing_opt_in AND email IS NOT NULL"
    ).fetchone()
    total = _own(
        shop.home / "shop.sqlite",
        "SELECT sum(CAST(round(json_extract(body, '$.total') * 100) AS INTEGER)) FROM orders",
    )
    cents = home.execute("SELECT (sum(total) * 100)::bigint FROM web.orders").fetchone()
    pairs = [
        ("orders in the shop and in the new database", orders[0], ours),
        ("what they cost, in cents", total[0], cents),
        ("contacts at the marketing system and customers who agreed", contacts[0], wanted),
    ]
    say("")
    wrong = []
    for what, there, found in pairs:
        here = found[0] if found else None
        say(f"{what}: {_shown(there)} and {_shown(here)}{'' if there == here else '  DIFFERENT'}")
        wrong += [what] if there != here else []
    if wrong:
        raise DemoError(f"Both ends differ: {'; '.join(wrong)}")


def _own(file: Path, query: str) -> tuple[Any, ...]:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as store:
        found: tuple[Any, ...] = store.execute(query).fetchone()
    return found
