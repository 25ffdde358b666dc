"""Faults on request, and counters: what a test turns and reads, in process or by HTTP.

Everything that is switched on stays so until it is switched off or ``reset`` is called, but for
``fail_next``, which is used up.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from demo.shop.authserver.clock import Clock
from demo.shop.authserver.keys import JWT_FAULTS, SigningKeys
from demo.shop.authserver.store import USERS, Store

FAULTS = (
    "unavailable",  # 503
    "throttled",  # 429 with Retry-After
    "hang",  # no answer
    "drop",  # the connection ends before anything is done
    "drop_after",  # it ends when all is done: the server has answered, the client has nothing
    "wrong_json",  # 200 with half a JSON document
    "html",  # 200 with a page of HTML
    "no_token",  # 200 with JSON that lacks the access token
    "oauth_error",  # 400 with the error that is given besides
)


@dataclass(frozen=True)
class Fault:
    """One misbehaviour: ``kind`` of ``FAULTS``, and what it needs."""

    kind: str
    retry_after: str | None = None
    seconds: float = 30.0
    error: str | None = None


class Control:
    """The server's switches and counters; safe from any thread."""

    def __init__(self, clock: Clock, keys: SigningKeys, store: Store) -> None:
        self._clock, self._keys, self._store = clock, keys, store
        self._faults: dict[str, deque[Fault]] = {}
        self._tokens: Counter[tuple[str, str, str]] = Counter()
        self._requests: Counter[str] = Counter()
        self.auto_consent = False
        self.reset()

    def reset(self) -> None:
        """No faults, no counts; keys, tokens and ``auto_consent`` stay as they are."""
        with self._store.lock:
            self._faults.clear()
            self._tokens.clear()
            self._requests.clear()
            self._store.families_revoked = 0
            self._clock.shift = 0.0
            self.issuer_in_discovery: str | None = None
            self.forget_after: float | None = None
            self.omit_expires_in = False
            self._id_token_fault: str | None = None
            self._access_token_fault: str | None = None

    # Faults

    def fail_next(
        self,
        count: int = 1,
        kind: str = "unavailable",
        *,
        endpoint: str = "token",
        retry_after: float | None = None,
        as_date: bool = False,
        seconds: float = 30.0,
        error: str | None = None,
    ) -> None:
        """Let the next requests of an endpoint go wrong, after those that were asked for before.

        ``retry_after`` is in seconds and goes out as a number, or as an HTTP date if ``as_date``;
        "throttled" says 1 by default. ``seconds`` is how long "hang" hangs. ``error`` is what
        "oauth_error" answers, such as slow_down.
        """
        _known("kind", kind, FAULTS)
        if (kind == "oauth_error") != (error is not None):
            raise ValueError("error goes with kind 'oauth_error', and with no other.")
        if retry_after is None and kind == "throttled":
            retry_after = 1
        header = None if retry_after is None else self._retry_after(retry_after, as_date)
        with self._store.lock:
            queue = self._faults.setdefault(endpoint, deque())
            queue.extend([Fault(kind, header, seconds, error)] * count)

    def _retry_after(self, seconds: float, as_date: bool) -> str:
        return formatdate(self._clock.now() + seconds, usegmt=True) if as_date else f"{seconds:g}"

    def take(self, endpoint: str) -> Fault | None:
        """The fault that this request gets, counting the request."""
        with self._store.lock:
            self._requests[endpoint] += 1
            queue = self._faults.get(endpoint)
            return queue.popleft() if queue else None

    @property
    def clock_shift(self) -> float:
        """Seconds by which the server's clock is ahead."""
        return self._clock.shift

    @clock_shift.setter
    def clock_shift(self, seconds: float) -> None:
        self._clock.shift = seconds

    @property
    def id_token_fault(self) -> str | None:
        """What is wrong with every ID token: one of ``keys.JWT_FAULTS``, or None."""
        return self._id_token_fault

    @id_token_fault.setter
    def id_token_fault(self, kind: str | None) -> None:
        self._id_token_fault = _known("id_token_fault", kind, (None, *JWT_FAULTS))

    @property
    def access_token_fault(self) -> str | None:
        """What is wrong with every JWT access token: one of ``keys.JWT_FAULTS``, or None."""
        return self._access_token_fault

    @access_token_fault.setter
    def access_token_fault(self, kind: str | None) -> None:
        self._access_token_fault = _known("access_token_fault", kind, (None, *JWT_FAULTS))

    def rotate_keys(self, keep_seconds: float = 600.0) -> None:
        """Sign with a new key; the old one stays in the JWKS so long, or leaves at once (0)."""
        with self._store.lock:
            self._keys.rotate(keep_seconds)

    def forget_access_tokens(self) -> int:
        """Revoke every access token now, refresh tokens left alone; says how many were good."""
        with self._store.lock:
            good = [token for token in self._store.access_tokens() if token.active]
            for token in good:
                token.revoked = True
            return len(good)

    # What a person would do

    def approve_device(self, user_code: str, user: str = "ada") -> bool:
        """Let the device with this user code in; False if nothing waits under that code."""
        return self._decide(user_code, user, approved=True)

    def deny_device(self, user_code: str, user: str = "ada") -> bool:
        """Refuse the device with this user code; False if nothing waits under that code."""
        return self._decide(user_code, user, approved=False)

    def _decide(self, user_code: str, user: str, *, approved: bool) -> bool:
        with self._store.lock:
            device = self._store.device_of(user_code)
            if device is None:
                return False
            device.user, device.approved = USERS[user], approved
            return True

    # Counters

    def count_token_request(self, client: str, grant: str, outcome: str) -> None:
        """Note one answer of the token endpoint; the outcome is "ok", an error, or a fault."""
        with self._store.lock:
            self._tokens[client, grant, outcome] += 1

    def token_requests(
        self, client: str | None = None, grant: str | None = None, outcome: str | None = None
    ) -> int:
        """How many requests reached the token endpoint, of a client's name, grant and outcome."""
        with self._store.lock:
            return sum(
                count
                for (who, what, how), count in self._tokens.items()
                if client in (None, who) and grant in (None, what) and outcome in (None, how)
            )

    def requests(self, endpoint: str) -> int:
        """How many requests an endpoint got (token, jwks, discovery, introspection, …)."""
        with self._store.lock:
            return self._requests[endpoint]

    @property
    def families_revoked(self) -> int:
        """Families of refresh tokens that ended because an old token was used again."""
        return self._store.families_revoked

    def state(self) -> dict[str, Any]:
        """Switches and counters as JSON values."""
        with self._store.lock:
            names = ("client", "grant", "outcome")
            return {
                **{name: getattr(self, name) for name in SWITCHES},
                "families_revoked": self.families_revoked,
                "requests": dict(self._requests),
                "token_requests": [
                    {**dict(zip(names, key, strict=True)), "count": count}
                    for key, count in sorted(self._tokens.items())
                ],
            }


# What /control may set and call.
SWITCHES = (
    "auto_consent",
    "clock_shift",
    "issuer_in_discovery",
    "forget_after",
    "omit_expires_in",
    "id_token_fault",
    "access_token_fault",
)
ACTIONS = (
    "reset",
    "fail_next",
    "rotate_keys",
    "forget_access_tokens",
    "approve_device",
    "deny_device",
)


def _known(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}.")
    return value
