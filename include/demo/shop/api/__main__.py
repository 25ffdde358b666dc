"""``python -m demo.shop.api``: a shop with made-up data, in the foreground."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from demo.shop.api.generate import Size, fill
from demo.shop.api.server import ShopServer
from demo.shop.api.store import Store
from demo.shop.api.verify import api_key
from demo.shop.serve import HOST, TlsSettings, say_ready, serve_until_signal


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    usual = Size()
    parser = argparse.ArgumentParser(prog="python -m demo.shop.api", description=__doc__)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--size", type=int, default=usual.orders, help="orders to make up")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--start", default=usual.start, help="the first order's day (UTC)")
    parser.add_argument(
        "--days", type=int, default=usual.days, help="days the orders are spread over"
    )
    parser.add_argument(
        "--data", type=Path, help="keep the data in this file; filled when it is empty"
    )
    parser.add_argument(
        "--api-key-from", metavar="VARIABLE", help="demand the key in this environment variable"
    )
    parser.add_argument("--tls-certificate", type=Path, help="serve HTTPS with this PEM file")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--tls-client-ca", type=Path, help="demand client certificates of this CA")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl+C; one line of JSON says where."""
    options = parse(arguments)
    verify = api_key(os.environ[options.api_key_from]) if options.api_key_from else None
    tls = None
    if options.tls_certificate:
        client_ca = options.tls_client_ca
        tls = TlsSettings(
            options.tls_certificate, options.tls_key, client_ca=client_ca, demand=bool(client_ca)
        )
    with Store(options.data) as store:
        if store.value("SELECT count(*) FROM orders") == 0:
            fill(store, Size(options.size, options.start, options.days, options.seed))
        server = ShopServer(store, verify=verify, tls=tls, host=options.host, port=options.port)
        with server:
            say_ready(url=server.url, data=str(store.path))
            serve_until_signal()


if __name__ == "__main__":
    main()
