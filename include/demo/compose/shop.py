"""The demo's shop as a service: ``python -m demo.compose.shop FOLDER``, until SIGTERM.

It listens where other containers reach it, under its host's name, and stores Airflow's connections to
itself, since each start makes new secrets.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.compose.connections import store
from demo.compose.health import SHOP_HOST, SHOP_PORTS, SHOP_READY
from demo.shop.whole import Ports, serving

# What a connection's `tls` names by the path of a file.
_FILES = {"ca", "certificate", "key"}


def self_contained(connection: Mapping[str, Any]) -> dict[str, Any]:
    """The connection with the text of certificates and keys: other containers lack these files."""
    extra = connection["extra"]
    texts = {
        name: Path(value).read_text(encoding="ascii") if name in _FILES else value
        for name, value in extra["tls"].items()
    }
    return {**connection, "extra": {**extra, "tls": texts}}


def main(folder: Path) -> None:
    """Serve, with state in the folder."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    SHOP_READY.unlink(missing_ok=True)
    with serving(folder, Ports(*SHOP_PORTS), SHOP_HOST) as facts:
        store({name: self_contained(each) for name, each in facts["connections"].items()})
        SHOP_READY.touch()
        print("The demo's shop answers.", flush=True)
        done.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
