"""The two pages that a person sees: consent to a client, and the code of a device."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from demo.shop.authserver.store import User

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 4rem auto; padding: 0 1rem }}
button, input {{ font: inherit; padding: .4rem 1rem; margin-right: .5rem }}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""


def page(title: str, body: str) -> str:
    """A whole page; ``body`` is HTML already."""
    return _FRAME.format(title=escape(title), body=body)


def message(title: str, text: str) -> str:
    """A page that only says something."""
    return page(title, f"<p>{escape(text)}</p>")


def consent(client: str, user: User, scopes: Iterable[str], ticket: str) -> str:
    """The question whether a client may act for a user; posts ``ticket`` and ``decision``."""
    wanted = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
    return page(
        "Let this program in?",
        f"<p>{escape(user.name)}, the program <b>{escape(client)}</b> asks for:</p><ul>{wanted}</ul>"
        f"{_form('/authorize', ticket)}",
    )


def device(ticket: str, user_code: str) -> str:
    """The question for a device's code; posts ``ticket``, ``user_code`` and ``decision``."""
    field = (
        "<p><label>Code shown on the device<br>"
        f'<input name="user_code" value="{escape(user_code)}" autocomplete="off" required></label></p>'
    )
    return page("Connect a device", _form("/device", ticket, field))


def _form(action: str, ticket: str, fields: str = "") -> str:
    return (
        f'<form method="post" action="{action}">'
        f'<input type="hidden" name="ticket" value="{escape(ticket)}">{fields}'
        '<button name="decision" value="allow">Allow</button>'
        '<button name="decision" value="deny">Deny</button></form>'
    )
