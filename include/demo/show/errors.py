"""The one error of the demo itself."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot go on, or its result is wrong; the text says what was seen and what to do."""
