"""``python -m demo.shop --home FOLDER``: the whole shop in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from demo.shop.whole import Ports, serving
from demo.stack.files import read_json, write_json

# In the folder: the connections (mode 600), there while the servers run, and the ports for the next time.
READY, PORTS = "ready.json", "ports.json"


def main(arguments: list[str] | None = None) -> int:
    """Serve; ``ready.json`` says where, once all of it answers."""
    parser = argparse.ArgumentParser(prog="python -m demo.shop", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="keeps data, keys and addresses")
    home: Path = parser.parse_args(arguments).home
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    ready = home / READY
    ready.unlink(missing_ok=True)
    try:
        with serving(home, _ports(home / PORTS)) as facts:
            write_json(home / PORTS, facts["ports"])
            write_json(ready, facts)
            for name, connection in facts["connections"].items():
                print(f"{name}: {connection['host']}", flush=True)
            done.wait()
    finally:
        ready.unlink(missing_ok=True)
    return 0


def _ports(file: Path) -> Ports:
    """Those of the last time if they are free, so that connections stay as they are."""
    from demo.stack.ports import is_free

    last = read_json(file)
    if last and all(is_free(port) for port in last.values()):
        return Ports(**last)
    return Ports()


if __name__ == "__main__":
    sys.exit(main())
