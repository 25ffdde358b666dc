"""Send one request and get its answer: time-outs, repeats, the server's limits, all errors in our words.

What is sent again, and when:

- a request that may arrive twice (GET, HEAD, PUT and DELETE by RFC 9110, section 9.2.2, a POST or PATCH
  that carries an idempotency key, a query by POST): after a broken connection, a time-out, an answer that
  is cut short or no JSON, and after 408, 425, 429, 500, 502, 503 and 504;
- any other: only where it cannot have been carried out, which is when no connection came about, and after
  429 (the server counted it and let it go). Else its outcome is unknown, and the error says so.

The pause before each attempt is drawn between nothing and a bound that doubles (full jitter), and is
never shorter than what Retry-After asks.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from sinew.api.addresses import origin, resolve, shown
from sinew.api.documents import Document, UnreadableError, read_document
from sinew.api.pace import Pace, Stop, pace_of, wait_until
from sinew.api.rate_headers import earliest_asked, quota_of, retry_after
from sinew.api.refusals import excerpt, refusal
from sinew.errors import (
    ApiAccessError,
    ApiRefusedError,
    BrokenAnswerError,
    ConfigurationError,
    OutcomeUnknownError,
    RetriableError,
    SinewError,
    ThrottledError,
    UnavailableError,
)
from sinew.spec.exchange import Exchange, Limits, Retry, Timeouts

REPEATED = frozenset([408, 425, 429, 500, 502, 503, 504])
IDEMPOTENT = frozenset(["GET", "HEAD", "PUT", "DELETE"])
_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_MOST_REDIRECTS = 5
_CHUNK = 1 << 16
# A page of HTML is a proxy's that goes away, or a login's that stays: a few attempts tell.
_HTML_ATTEMPTS = 3


@dataclass(frozen=True)
class Call:
    """A request to be sent; ``shown`` is how messages name it, without secrets or personal data."""

    method: str
    url: str = field(repr=False)
    shown: str
    params: Sequence[tuple[str, str]] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = True
    needs_json: bool = True


@dataclass(frozen=True)
class Answer:
    """What came back; ``document`` is its JSON, where it was asked for and is there.

    ``asked_at`` is when it was sent too, by the server's clock where that is behind ours.
    """

    status: int
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent_at: datetime
    asked_at: datetime
    attempts: int
    document: Document | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Policy:
    """How requests are sent: when again, how many, how long; ``stop`` says whether to give up."""

    retry: Retry = Retry()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    pace: Pace = field(default_factory=Pace)
    stop: Stop | None = None


def policy_of(session: requests.Session, exchange: Exchange, stop: Stop | None = None) -> Policy:
    """The policy that a mapping declares; all threads of this process share one pace a server."""
    at = getattr(session, "endpoint", session)
    server = str(getattr(at, "base_url", ""))
    pace = pace_of(server, exchange.limits.requests_per_second)
    return Policy(exchange.retry, exchange.limits, exchange.timeouts, pace, stop)


def successful(status: int) -> bool:
    """Whether a status says that all went well."""
    return 200 <= status < 300


def secrets_of(session: requests.Session) -> list[tuple[str, str]]:
    """What a session proves itself with, to be hidden where an answer quotes it."""
    secrets: Callable[[], Sequence[str]] = getattr(session, "secrets", tuple)
    return [("secret", text) for text in secrets()]


@dataclass(frozen=True)
class _Trouble:
    """Why an attempt did not do, and what may be done about it."""

    what: str
    error: type[SinewError]
    arrived: bool = True
    wait: float | None = None
    attempts: int | None = None
    status: int | None = None


class _TroubleError(Exception):
    def __init__(self, trouble: _Trouble) -> None:
        self.trouble = trouble


def send(
    session: requests.Session,
    call: Call,
    policy: Policy,
    accept: Callable[[int], bool] = successful,
) -> Answer:
    """Send until there is an answer whose status ``accept`` takes.

    Raises ApiAccessError (401, 403), ApiRefusedError (what repeats), UnavailableError, BrokenAnswerError,
    ThrottledError (wait longer than a task may), OutcomeUnknownError (a request that must not arrive
    twice may have arrived), InterruptedStepError (asked to stop), or what the session itself raises.
    """
    for attempt in count(1):
        try:
            return _attempt(session, call, policy, accept, attempt)
        except _TroubleError as error:
            trouble = error.trouble
        _give_up_or_wait(call, policy, trouble, attempt)
    raise AssertionError("count() does not end")


def _give_up_or_wait(call: Call, policy: Policy, trouble: _Trouble, attempt: int) -> None:
    what = f"{call.shown} {trouble.what}"
    if trouble.arrived and not call.repeatable:
        raise OutcomeUnknownError(
            f"{what}; it may have been carried out, and must not be sent twice: look what is there "
            "before it is sent again, or give the delivery an idempotency key",
            attempt,
            trouble.status,
        )
    wait = trouble.wait
    if wait is not None and wait > policy.retry.longest_wait:
        at = datetime.now(UTC) + timedelta(seconds=wait)
        raise ThrottledError(
            f"{what} and asks to wait {wait:,.0f} seconds; allowed: {policy.retry.longest_wait:,.0f} "
            f"(retry.longest_wait): try again at {at:%Y-%m-%d %H:%M:%S} UTC",
            at,
        )
    if attempt >= min(policy.retry.attempts, trouble.attempts or policy.retry.attempts):
        last = "correct the path, or address and authentication in the connection"
        if issubclass(trouble.error, RetriableError):
            last = "it is tried again; if it stays, look at the server"
        raise trouble.error(f"{what}, {attempt} times: {last}")
    if wait:
        policy.pace.pause(wait)
    retry = policy.retry
    bound = min(retry.longest_delay, retry.first_delay * 2.0 ** (attempt - 1))
    wait_until(time.monotonic() + (wait or 0) + random.uniform(0, bound), policy.stop)


def _attempt(
    session: requests.Session,
    call: Call,
    policy: Policy,
    accept: Callable[[int], bool],
    attempt: int,
) -> Answer:
    with policy.pace.slot(policy.stop, policy.retry.longest_wait):
        sent_at = datetime.now(UTC)
        with _translated(call.shown):
            response = _ask(session, call, policy)
            with response:
                asked_at = earliest_asked(response.headers, sent_at, datetime.now(UTC))
                policy.pace.hear(quota_of(response.headers, sent_at))
                body = _body(response, call, policy)
    status, headers = response.status_code, response.headers
    if not accept(status):
        raise _refused(call, status, headers, excerpt(body, secrets_of(session)))
    document = _document(call, status, headers, body) if successful(status) else None
    return Answer(status, response.url, headers, body, sent_at, asked_at, attempt, document)


def _ask(session: requests.Session, call: Call, policy: Policy) -> requests.Response:
    """One request, and the redirects that stay at the same server."""
    method, url, params = call.method, call.url, list(call.params)
    for _ in range(_MOST_REDIRECTS + 1):
        response = session.request(
            method,
            url,
            params=params,
            data=call.body,
            headers={**_accepted(session), **call.headers},
            timeout=(policy.timeouts.connect, policy.timeouts.read),
            # A redirect must not carry a key to another server; requests would follow.
            allow_redirects=False,
            stream=True,
        )
        if response.status_code not in _REDIRECTS or "Location" not in response.headers:
            return response
        response.close()
        url, params = _redirected(call, response), []
    raise ApiRefusedError(f"{call.shown} redirects in a circle: correct the path in the mapping")


def _accepted(session: requests.Session) -> dict[str, str]:
    """JSON, unless the connection has an Accept of its own, such as that of a version of the API."""
    of_connection = getattr(getattr(session, "endpoint", None), "headers", {})
    said = any(name.lower() == "accept" for name in of_connection)
    return {} if said else {"Accept": "application/json"}


def _redirected(call: Call, response: requests.Response) -> str:
    try:
        target = resolve(response.url, response.headers["Location"])
    except ValueError:
        raise ApiRefusedError(
            f"{call.shown} redirects to no address", response.status_code
        ) from None
    same = origin(target) == origin(response.url)
    # 301 to 303 turn other methods into GET (RFC 9110, section 15.4), which is not what was asked.
    if same and (call.method in ("GET", "HEAD") or response.status_code in (307, 308)):
        return target
    raise ApiRefusedError(
        f"{call.shown} redirects ({response.status_code}) to {shown(target)}; allowed: a redirect of "
        "GET within the same server: correct the address in the connection or the path",
        response.status_code,
    )


def _body(response: requests.Response, call: Call, policy: Policy) -> bytes:
    """The decompressed body, as large and as slow as is allowed."""
    ends_at = time.monotonic() + policy.timeouts.total
    chunks, size = [], 0
    for chunk in response.iter_content(_CHUNK):
        size += len(chunk)
        if size > policy.limits.answer_bytes:
            raise ApiRefusedError(
                f"the answer to {call.shown} is larger than {policy.limits.answer_bytes:,} bytes: ask "
                "for smaller pages, or raise limits.answer_bytes",
                response.status_code,
            )
        if time.monotonic() > ends_at:
            what = f"is still answering after {policy.timeouts.total:g} seconds (timeouts.total)"
            raise _TroubleError(_Trouble(what, UnavailableError))
        chunks.append(chunk)
    return b"".join(chunks)


def _refused(call: Call, status: int, headers: Mapping[str, str], said: str) -> Exception:
    if status not in REPEATED:
        return refusal(call.shown, status, said)
    wait = retry_after(headers, datetime.now(UTC))
    what = f"answers {status}" + (f" ({said})" if said else "")
    # A request that was counted and let go was not carried out.
    arrived = status != 429
    return _TroubleError(_Trouble(what, UnavailableError, arrived, wait, status=status))


def _document(call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Document | None:
    if status in (204, 205) or (not body and not call.needs_json):
        return None
    content_type = headers.get("Content-Type", "")
    try:
        return read_document(body, _charset(content_type))
    except UnreadableError as error:
        cause = str(error) if body else "it is empty"
    # Also where no JSON is needed: a login page with status 200 means that nothing was done.
    if "html" in content_type.lower() or body.lstrip()[:1] == b"<":
        what = f"answers {status} with a page for people ({content_type or 'HTML'}), not JSON"
        trouble = _Trouble(what, ApiRefusedError, attempts=_HTML_ATTEMPTS, status=status)
    elif call.needs_json:
        what = f"answers {status}, but not with JSON ({cause})"
        trouble = _Trouble(what, BrokenAnswerError, status=status)
    else:
        return None
    raise _TroubleError(trouble)


def _charset(content_type: str) -> str | None:
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The session's errors as ours; the texts of urllib3 quote addresses with their queries."""
    try:
        yield
    except requests.RequestException as error:
        raise _ours(error, what) from None
    except RetriableError as error:
        # The session's own: it reaches another server, such as the one that gives out tokens.
        raise _TroubleError(_Trouble(f"cannot be sent: {error}", UnavailableError)) from None


def _ours(error: requests.RequestException, what: str) -> Exception:
    causes = list(_chain(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return ApiAccessError(
            f"{what}: the server's certificate is refused: correct the address, or name its CA in the "
            "connection"
        )
    if isinstance(error, requests.ConnectTimeout) or any(
        isinstance(cause, NewConnectionError | NameResolutionError) for cause in causes
    ):
        return _TroubleError(
            _Trouble(f"cannot be reached ({_reason(causes)})", UnavailableError, arrived=False)
        )
    if isinstance(error, requests.Timeout):
        return _TroubleError(_Trouble("does not answer in time", UnavailableError))
    if isinstance(
        error,
        requests.ConnectionError
        | requests.exceptions.ChunkedEncodingError
        | requests.exceptions.ContentDecodingError,
    ):
        return _TroubleError(_Trouble(f"broke off ({_reason(causes)})", UnavailableError))
    return ConfigurationError(
        f"{what} cannot be asked ({type(error).__name__}): correct the address in the connection"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from or wraps in its arguments."""
    seen: set[int] = set()
    left: list[BaseException] = [error]
    while left:
        found = left.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            wrapped: tuple[Any, ...] = (
                found.__cause__, found.__context__, getattr(found, "reason", None), *found.args,
            )  # fmt: skip
            left += [item for item in wrapped if isinstance(item, BaseException)]


def _reason(causes: Sequence[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror.lower()
    return "the connection broke"
