"""Health of one Airflow service, without the seconds that importing Airflow takes.

    python -m demo.compose.health metadatabase|scheduler|dag_processor|triggerer|worker|shop

Exit code 0 means healthy. The parts of Airflow are asked about at the API server, which knows their
heartbeats; the worker is pinged through the broker, and the demo's shop must accept connections.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import ProxyHandler, build_opener

# The demo's shop: its name in the network, the ports of its three servers, and the file that says
# that Airflow has the connections to them.
SHOP_HOST = "demo-shop"
SHOP_PORTS = (8443, 8444, 8445)
SHOP_READY = Path("/tmp/shop-is-ready")

_SECONDS = 15
# The name of a service in this network must never be asked for through a proxy.
_opener = build_opener(ProxyHandler({}))


def component(name: str) -> str:
    """What the API server says about a component: healthy, unhealthy or nothing."""
    address = urljoin(os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"], "/")
    with _opener.open(f"{address}api/v2/monitor/health", timeout=_SECONDS) as answer:
        return str(json.load(answer).get(name, {}).get("status"))


def worker() -> str:
    """Whether this container's worker answers a ping."""
    from celery import Celery

    app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
    name = f"celery@{socket.gethostname()}"
    answers = app.control.ping(destination=[name], timeout=_SECONDS)
    return "healthy" if answers else "no answer"


def shop() -> str:
    """Whether the demo's servers accept connections, and Airflow knows them."""
    if not SHOP_READY.exists():
        return "not ready"
    for port in SHOP_PORTS:
        socket.create_connection((SHOP_HOST, port), timeout=_SECONDS).close()
    return "healthy"


def main(name: str) -> int:
    """Print the state; 0 if it is healthy."""
    own = {"worker": worker, "shop": shop}
    state = own[name]() if name in own else component(name)
    print(f"{name}: {state}")
    return int(state != "healthy")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
