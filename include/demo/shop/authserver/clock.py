"""The server's clock, which a test can set wrong."""

from __future__ import annotations

import time


class Clock:
    """Seconds since 1970, off by ``shift`` seconds; every rule of the server asks it alone."""

    def __init__(self) -> None:
        self.shift = 0.0

    def now(self) -> float:
        """Now, in seconds, with the fraction."""
        return time.time() + self.shift
