"""What a server answered, cut to what may be repeated and judged by what can help."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from sinew.errors import AuthenticationError, ServerBusyError

_LIMIT = 1_000_000  # bytes; a token, a key set or a discovery document is a few thousand
_SHORT = 200
_LONGEST_WAIT = 366 * 86_400.0  # beyond any that makes sense; a calendar ends somewhere
# A clock this far off explains a refused assertion or token; less is within what servers tolerate.
SKEW_WORTH_SAYING = 30.0


@dataclass(frozen=True)
class Answer:
    """A JSON object, its status, and how far the server's clock is ahead of ours, in seconds."""

    status: int
    body: Mapping[str, Any]
    skew: float | None


def read_answer(response: requests.Response, where: str, *, empty_ok: bool = False) -> Answer:
    """The JSON object of an answer; the text of anything else is not repeated.

    With ``empty_ok``, a good status is enough, as RFC 7009 §2.2 has it.

    Raises UnavailableError where a later answer may be better, else AuthenticationError.
    """
    status, skew = response.status_code, skew_of(response)
    with response:
        raw = _read(response)
    if status in (408, 425, 429) or status >= 500:
        wait = retry_after(response)
        raise ServerBusyError(f"{where} answered {status}{_when(wait)}: try again later", wait)
    body = _object(raw)
    if body is not None and (status < 300 or "error" in body):
        return Answer(status, body, skew)
    if empty_ok and status < 300:
        return Answer(status, {}, skew)
    kind = plain(response.headers.get("Content-Type", "none"), 60)
    if status < 300:
        raise ServerBusyError(
            f"{where} answered {status} with something that is no JSON object (content type {kind}): try "
            "again later, and if it stays so, correct the URL"
        )
    if 300 <= status < 400:
        raise AuthenticationError(
            f"{where} answered {status}, a redirect, which is not followed with secrets: correct the URL"
        )
    raise AuthenticationError(
        f"{where} answered {status} (content type {kind}) and named no error: correct the URL, or ask "
        "who runs it"
    )


def _when(wait: float | None) -> str:
    return "" if wait is None else f" and asked to wait {wait:.0f} s"


def _read(response: requests.Response) -> bytes:
    """The body, and no more than one byte over the limit's block."""
    read = b""
    for chunk in response.iter_content(65_536):
        read += chunk
        if len(read) > _LIMIT:
            break
    return read


def _object(raw: bytes) -> dict[str, Any] | None:
    if len(raw) > _LIMIT:
        return None
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def retry_after(response: requests.Response) -> float | None:
    """Seconds of a Retry-After header in either form (RFC 9110 §10.2.3)."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, TypeError):
        return None
    # Against the server's own clock where it tells it, so that ours does not matter.
    now = _date(response) or datetime.now(UTC)
    return min(max(0.0, (_aware(at) - now).total_seconds()), _LONGEST_WAIT)


def skew_of(response: requests.Response) -> float | None:
    """Seconds that the server's clock is ahead of this machine's, by its Date header."""
    date = _date(response)
    return None if date is None else date.timestamp() - time.time()


def _date(response: requests.Response) -> datetime | None:
    try:
        return _aware(parsedate_to_datetime(response.headers.get("Date", "")))
    except (ValueError, TypeError):
        return None


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def clock_words(skew: float | None) -> str:
    """A clause about this machine's clock, or nothing when it is about right."""
    if skew is None or abs(skew) < SKEW_WORTH_SAYING:
        return ""
    side = "behind" if skew > 0 else "ahead of"
    return (
        f"; this machine's clock is {_span(abs(skew))} {side} the server's, and signed tokens are judged "
        "by time: set the clock (NTP)"
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plain(text: Any, limit: int = _SHORT, secrets: Iterable[str] = ()) -> str:
    """A server's text for a message: printable ASCII, cut, and without what we sent in secret."""
    if not isinstance(text, str):
        return ""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        # A short one may be part of a word by chance.
        edge = r"\b" if len(secret) < 8 else ""
        text = re.sub(f"{edge}{re.escape(secret)}{edge}", "***", text)
    # RFC 6749 §5.2 allows no more, and a log must not be written into by a server.
    kept = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
    return kept if len(kept) <= limit else kept[: limit - 3] + "..."
