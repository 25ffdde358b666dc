"""Keeps a key that must stand in a URL out of the logs of the HTTP library below."""

from __future__ import annotations

import logging
import re


class _Mask(logging.Filter):
    """Blanks the values of named query parameters in urllib3's lines, which quote each URL."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        names = "|".join(re.escape(name) for name in sorted(self.names))
        if names and isinstance(record.args, tuple):
            pattern = re.compile(rf"([?&](?:{names})=)[^&\s\"']*")
            record.args = tuple(
                pattern.sub(r"\1***", arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


_mask = _Mask()


def mask_parameter(name: str) -> None:
    """Never log the value of this query parameter."""
    _mask.names.add(name)
    for logger in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(logger).addFilter(_mask)
