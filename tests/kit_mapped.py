"""What a mapped task does in a process of its own: open the API by its connection, and ask it once."""

from __future__ import annotations

from sinew.hooks.apis import ApiOpener


def ask(opener: ApiOpener) -> int:
    """The status of one request."""
    with opener() as session:
        return session.get("/").status_code
