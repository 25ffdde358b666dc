"""The shop's server: in a thread of this process, or as a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from demo.shop.api.app import create_app
from demo.shop.api.control import Control
from demo.shop.api.generate import Size, fill
from demo.shop.api.store import Store
from demo.shop.api.verify import Verifier
from demo.shop.serve import HOST, ServerProcess, ServerThread, Tls


class ShopServer:
    """``with ShopServer() as server:`` a shop at ``server.url``, turned by ``server.control``.

    Without a store it makes one of 2,000 orders, which goes with the server.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        control: Control | None = None,
        verify: Verifier | None = None,
        tls: Tls | None = None,
        host: str = HOST,
        port: int = 0,
    ) -> None:
        self._owned = None if store else fill(Store())
        self.store = store or self._owned or Store()
        self.control = control or Control()
        self._verify = verify
        self._thread = ServerThread(tls, host, port)
        self.url = self._thread.url

    def start(self) -> Self:
        """Serve; returns once connections are accepted."""
        self._thread.start(create_app(self.store, self.control, self._verify))
        return self

    def close(self) -> None:
        """Stop serving; a store of its own goes."""
        self._thread.close()
        if self._owned:
            self._owned.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *problem: object) -> None:
        self.close()


class ShopProcess(ServerProcess):
    """A shop in another process, so that it and its client do not share one interpreter.

    ``url`` is where it answers, ``store`` opens its data file here.
    """

    def __init__(self, size: Size | None = None, *arguments: str) -> None:
        size = size or Size()
        given = ["--size", str(size.orders), "--seed", str(size.seed)]
        given += ["--start", size.start, "--days", str(size.days)]
        super().__init__("demo.shop.api", [*given, *arguments])
        self.url: str = self.said["url"]
        self.store = Store(Path(self.said["data"]))

    def close(self) -> None:
        """End the process; its data goes unless it was asked to keep it."""
        if hasattr(self, "store"):
            self.store.close()
        super().close()
