"""What a server's refusal means, in words that say what to do and quote no one's data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sinew.api.documents import UnreadableError, read_document
from sinew.errors import ApiAccessError, ApiRefusedError, SinewError

_LONGEST = 200
# The members in which APIs say what was wrong (RFC 9457 among them); any other may hold a person's data.
_CODES = ("code", "error_code", "type")
_SENTENCES = ("error", "title", "detail", "message", "error_description", "reason", "msg")
_LISTS = ("errors", "detail", "details")
_MASKS = (
    (re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+"), "‹address›"),
    (re.compile(r"\+?\d(?:[\d ./()-]{3,}\d)"), "‹digits›"),
    (re.compile(r"[^\s‹›]{32,}"), "‹token›"),
)
_REMEDIES = {
    400: "correct the parameters or the body in the mapping",
    401: "renew the secret in the connection, or log in again",
    403: "have the connection's account allowed to do this",
    404: "correct the path in the mapping, or the address in the connection",
    405: "correct the method in the mapping",
    406: "the server cannot answer as JSON here: correct the path",
    409: "look what is there already, and say in the mapping what a conflict means",
    410: "it is gone for good: correct the path in the mapping",
    411: "the server wants a body: correct the method in the mapping",
    413: "send fewer rows at once",
    414: "send fewer or shorter parameters, or use POST",
    415: "the server does not take JSON here: correct the path or the headers",
    422: "correct what is sent: the server understood it and will not have it",
    428: "the server wants a precondition, such as If-Match: see its documentation",
    431: "send fewer or shorter headers",
    451: "ask who runs the server: it may not answer for legal reasons",
    501: "the server cannot do this: correct the method in the mapping",
}


def refusal(shown: str, status: int, said: str) -> SinewError:
    """The error for a status that waiting does not change; ``said`` is the excerpt of the answer."""
    quoted = f" ({said})" if said else ""
    remedy = _REMEDIES.get(status, "see the server's documentation, then correct the mapping")
    message = f"{shown} answers {status}{quoted}: {remedy}"
    if status in (401, 403):
        return ApiAccessError(message)
    return ApiRefusedError(message, status)


def excerpt(body: bytes, hidden: Iterable[tuple[str, str]] = ()) -> str:
    """The code and the sentence of an answer's error members, cut at 200 characters; '' without any.

    ``hidden`` are (name, value) pairs whose values are replaced by their names where they are quoted;
    addresses, long numbers and tokens are masked in any case.
    """
    if len(body) > 1 << 20:
        return ""
    try:
        root = read_document(body).root
    except UnreadableError:
        return ""
    return excerpt_of(root, hidden)


def excerpt_of(root: Any, hidden: Iterable[tuple[str, str]] = ()) -> str:
    """As ``excerpt``, of a parsed value; a text alone is a sentence."""
    words = dict.fromkeys(text for text in _words(root, depth=3) if _is_text(text))
    said = ", ".join(masked(" ".join(word.split()), hidden) for word in words)
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"


def _words(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and depth:
        for name in _CODES:
            code = value.get(name)
            if isinstance(code, str | int) and not isinstance(code, bool):
                yield str(code)
        for name in _SENTENCES:
            if name in value and not isinstance(value[name], list):
                yield from _words(value[name], depth - 1)
        for name in _LISTS:
            found = value.get(name)
            if isinstance(found, list) and found:
                yield from _words(found[0], depth - 1)


def _is_text(text: str) -> bool:
    return bool(text) and len(text) <= 2000 and "<" not in text and text.isprintable()


def masked(text: str, hidden: Iterable[tuple[str, str]] = ()) -> str:
    """The text with values replaced by the names that they go by, and what looks personal masked."""
    # Long values first: one may be a part of another.
    for name, value in sorted(hidden, key=lambda pair: -len(pair[1])):
        if len(value) > 2:
            shown = f"‹{name}›".replace("\\", "")
            text = re.sub(re.escape(value), shown, text, flags=re.IGNORECASE)
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text
