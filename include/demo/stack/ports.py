"""Free ports of the loopback address."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """True if a server could listen on the port now."""
    with socket.socket() as probe:
        # Without it a port whose last connections are in TIME_WAIT looks taken; servers set it too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def any_free() -> int:
    """A free port that the kernel picks."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def first_free(start: int, tries: int = 100) -> int:
    """The first free port at or above ``start``; any free one when all of them are taken."""
    found = (port for port in range(start, start + tries) if is_free(port))
    return next(found, None) or any_free()
