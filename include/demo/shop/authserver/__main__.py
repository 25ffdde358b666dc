"""Run the server in the foreground: ``python -m demo.shop.authserver --port 9000``."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from demo.shop.authserver.provider import Settings
from demo.shop.authserver.server import AuthServer
from demo.shop.tls import make_certificates


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; the one line printed is the issuer."""
    options = _parser().parse_args(arguments)
    tls = make_certificates(options.tls) if options.tls else None
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    resources = Settings().resources | set(options.resource)
    with AuthServer(
        tls=tls,
        port=options.port,
        lifetime=options.lifetime,
        refresh_overlap=options.refresh_overlap,
        resources=resources,
    ) as server:
        server.control.auto_consent = options.auto_consent
        if options.credentials:
            server.write_credentials(options.credentials)
        print(server.issuer, flush=True)
        done.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.shop.authserver", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="port of 127.0.0.1; any free one by default")
    add("--tls", type=Path, metavar="FOLDER", help="speak TLS; certificates are made here")
    add("--credentials", type=Path, metavar="FILE", help="write the clients' secrets here (0600)")
    add("--lifetime", type=int, default=300, help="seconds that an access token is good for")
    add("--refresh-overlap", type=float, default=0, help="seconds that a used refresh token works")
    add("--resource", action="append", default=[], help="one more resource to give tokens for")
    add("--auto-consent", action="store_true", help="never ask at /authorize")
    return parser


if __name__ == "__main__":
    main()
