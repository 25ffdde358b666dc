"""The one error of the local stack."""

from __future__ import annotations


class StackError(Exception):
    """The local stack cannot do what was asked; the text says what was seen and what to do."""
