"""Starts and stops web servers: uvicorn in a thread of this process, or a process of its own.

A server listens before its constructor returns, on a free port unless one is given, so that nobody
has to wait or to guess. Two things reach an application that uvicorn keeps to itself, both in
``scope["extensions"]``: the peer's certificate (as the ASGI extension ``tls`` has it) and the
transport, by which a demonstration server can drop a connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HOST = "127.0.0.1"
TRANSPORT = "demo.transport"

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
# Clients that wait out a rate limit of some seconds shall find their connection open.
_KEEP_ALIVE_SECONDS = 60


@dataclass(frozen=True)
class TlsSettings:
    """A server's certificate, and what it asks of its clients: PEM files.

    ``client_ca`` lists whose client certificates are accepted; with ``demand`` a client without one
    fails in the handshake, otherwise it is served and the application decides.
    """

    certificate: Path
    key: Path
    password: str | None = field(default=None, repr=False)
    client_ca: Path | None = None
    demand: bool = False

    def options(self) -> dict[str, Any]:
        """The same as keyword arguments of uvicorn's Config."""
        asked = ssl.CERT_REQUIRED if self.demand else ssl.CERT_OPTIONAL
        return {
            "ssl_certfile": str(self.certificate),
            "ssl_keyfile": str(self.key),
            "ssl_keyfile_password": self.password,
            "ssl_ca_certs": str(self.client_ca) if self.client_ca else None,
            "ssl_cert_reqs": asked if self.client_ca else ssl.CERT_NONE,
        }


Tls = TlsSettings | ssl.SSLContext


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol that shows the application its transport and the peer's certificate."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {TRANSPORT: self.transport}
        encrypted = self.transport.get_extra_info("ssl_object")
        if encrypted is not None:
            sent = encrypted.getpeercert(binary_form=True)
            chain = [ssl.DER_cert_to_PEM_cert(sent)] if sent else []
            extensions["tls"] = {"client_cert_chain": chain, "tls_version": encrypted.version()}
        self.scope["extensions"] = extensions


def peer_certificate(scope: Mapping[str, Any]) -> bytes | None:
    """The client's certificate as DER; None without TLS or when the client sent none."""
    chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", [])
    return ssl.PEM_cert_to_DER_cert(chain[0]) if chain else None


async def drop(scope: Mapping[str, Any], receive: Any, *, flush: bool = False) -> None:
    """Close the connection without another byte; with ``flush`` after what was already sent.

    Returns once the server has noticed, so that it does not answer 500 in the application's stead.
    """
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    if flush:
        transport.close()
    else:
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()


class ServerThread:
    """One ASGI application, served by a thread of this process until ``close``.

    The port is taken when the object is made, so ``url`` is known before the application exists.
    """

    def __init__(self, tls: Tls | None = None, host: str = HOST, port: int = 0) -> None:
        self._tls = tls
        self._socket = _bound(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the server answers, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def start(self, app: Any) -> Self:
        """Serve the application; returns once the server accepts connections."""
        config = _config(app, self._tls)
        # Here and not in the thread, so that a bad certificate is the caller's exception.
        try:
            config.load()
        except BaseException:
            self._socket.close()
            raise
        if isinstance(self._tls, ssl.SSLContext):
            config.ssl = self._tls
        listening = threading.Event()
        self._server = _Server(config, listening)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name=f"server {self.port}", daemon=True
        )
        self._thread.start()
        if not listening.wait(_START_SECONDS):
            raise RuntimeError(f"the server on port {self.port} did not start; see its log")
        return self

    def close(self) -> None:
        """Stop; answers that are under way get a second to end."""
        if self._server is None or self._thread is None:
            self._socket.close()
            return
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


def _config(app: Any, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="critical",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
        **(tls.options() if isinstance(tls, TlsSettings) else {}),
    )


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    # Connections that come before the application is ready wait in the backlog.
    listener.listen(1024)
    return listener


class ServerProcess:
    """A server in a process of its own: ``python -m MODULE ARGUMENTS``, ended by ``close``.

    The program says that it is ready by one line of JSON on its standard output: ``said``.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        try:
            self.said: dict[str, Any] = json.loads(self._first_line(module))
        except BaseException:
            self.close()
            raise

    def _first_line(self, module: str) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(f"python -m {module} did not say that it is ready; see its output")
        return line

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


def _environment() -> MutableMapping[str, str]:
    include = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{include}{os.pathsep}{known}" if known else include}


def say_ready(**facts: Any) -> None:
    """Tell the parent process, or a reader, that the server is ready: one line of JSON."""
    print(json.dumps(facts), flush=True)


def serve_until_signal() -> None:
    """Keep the main thread until SIGTERM or Ctrl+C."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
