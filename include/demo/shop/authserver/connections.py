"""What an application may know of its TCP connection, which uvicorn keeps to itself.

The peer's certificate is put where the ASGI TLS extension says (``client_cert_chain``), and the
application may drop the connection, which is how a server that dies looks from outside.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import MutableMapping
from typing import Any

from cryptography import x509
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_DROP = "demo.drop"


class ConnectionProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol, each request's scope having the extensions ``tls`` and a drop."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        inner = self.app
        extensions: dict[str, Any] = {_DROP: transport.abort}
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            der = connection.getpeercert(binary_form=True)
            chain = [ssl.DER_cert_to_PEM_cert(der)] if der else []
            extensions["tls"] = {"client_cert_chain": chain}

        async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), **extensions}
            await inner(scope, receive, send)

        self.app = app


def client_certificate(scope: MutableMapping[str, Any]) -> x509.Certificate | None:
    """The certificate that the peer showed in this connection; the handshake has verified it."""
    chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain")
    return x509.load_pem_x509_certificate(chain[0].encode()) if chain else None


def drop_connection(scope: MutableMapping[str, Any]) -> None:
    """End the connection now, without another byte."""
    scope["extensions"][_DROP]()
