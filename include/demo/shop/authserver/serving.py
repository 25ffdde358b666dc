"""uvicorn in a thread, on a port that is known before it starts."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any

import uvicorn

from demo.shop.authserver.connections import ConnectionProtocol

START_SECONDS = 30
LINGER_SECONDS = 0.5


class AlertingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose servers say why they refuse a TLS handshake.

    asyncio ends the connection before the alert is written, so that a client whose certificate is
    refused sees an end of file, where other servers tell it "certificate expired" or "unknown CA".
    This reaches into asyncio; where its inside changes, the alert is lost again, no more.
    """

    def _make_ssl_transport(self, *args: Any, **options: Any) -> Any:
        transport = super()._make_ssl_transport(*args, **options)  # type: ignore[misc]
        protocol = getattr(transport, "_ssl_protocol", None)
        complete = getattr(protocol, "_on_handshake_complete", None)
        if complete is None:
            return transport
        refused = False

        def alert_first(error: Exception | None) -> None:
            nonlocal refused
            if refused:
                return
            if not isinstance(error, ssl.SSLError):
                complete(error)
                return
            refused = True
            protocol._process_outgoing()
            # By TLS 1.3 the client may be sending already: closed at once, it would not read on.
            self.call_later(LINGER_SECONDS, complete, error)

        protocol._on_handshake_complete = alert_first
        return transport


class _Server(uvicorn.Server):
    """Tells when it listens, or that it never will."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Idle connections of clients that pool them would hold the end up until they time out.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class ServerThread:
    """One HTTP server of this process; ``port`` 0 is any free one."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    def start(self, app: Any, context: ssl.SSLContext | None = None) -> None:
        """Serve ``app`` from now on; RuntimeError if the server does not come up."""
        config = uvicorn.Config(
            app,
            http=ConnectionProtocol,
            ws="none",
            loop=f"{__name__}:{AlertingLoop.__name__}",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_context_factory=(lambda config, default: context) if context else None,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name=f"http:{self.port}", daemon=True)
        self._thread.start()
        if not self._server.settled.wait(START_SECONDS) or not self._server.started:
            raise RuntimeError(f"The HTTP server on port {self.port} did not start; see its log.")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._server.settled.set()

    def join(self) -> None:
        """Wait until the server ends."""
        self._thread.join()

    def stop(self) -> None:
        """End the server and every connection to it."""
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._socket.close()
