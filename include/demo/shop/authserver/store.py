"""What the server remembers: tokens, families of refresh tokens, codes, device requests.

All in memory, behind one lock: a real server would keep it in a database, and no faster.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import TokenMixin
from authlib.oauth2.rfc8628 import DeviceCredentialMixin
from authlib.oidc.core import AuthorizationCodeMixin

from demo.shop.authserver.clients import Client
from demo.shop.authserver.clock import Clock


@dataclass(frozen=True)
class User:
    """Somebody who can consent."""

    sub: str
    name: str
    email: str

    def get_user_id(self) -> str:
        return self.sub


SWEEP_FROM = 10_000  # access tokens in memory before the first look for old ones

USERS = {
    user.sub: user
    for user in (
        User("ada", "Ada Demo", "ada@shop.example"),
        User("grace", "Grace Demo", "grace@shop.example"),
    )
}


@dataclass
class AccessToken(TokenMixin):
    """An access token that was issued; times in seconds since 1970 by the server's clock."""

    text: str = field(repr=False)
    client_id: str
    sub: str
    scope: str
    audience: list[str]
    jti: str
    issued_at: float
    expires_at: float
    clock: Clock = field(repr=False)
    user: User | None = None
    thumbprint: str | None = None
    act: dict[str, Any] | None = None
    auth_time: int | None = None
    family: Family | None = None
    revoked: bool = False

    @property
    def active(self) -> bool:
        """True if a resource server should still accept it."""
        return not (self.is_expired() or self.is_revoked())

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_expires_in(self) -> int:
        return round(self.expires_at - self.issued_at)

    def is_expired(self) -> bool:
        return self.clock.now() >= self.expires_at

    def is_revoked(self) -> bool:
        return self.revoked or (self.family is not None and self.family.revoked)

    def get_user(self) -> User | None:
        return self.user


@dataclass
class Family(TokenMixin):
    """All refresh tokens that came out of one consent; only the newest is good (RFC 9700 4.14.2)."""

    client_id: str
    user: User
    scope: str
    audience: list[str]
    auth_time: int
    nonce: str | None = None
    current: str = field(default="", repr=False)
    former: str | None = field(default=None, repr=False)
    replaced_at: float = 0.0
    second_chances: int = 0
    rotations: int = 0
    revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return self.revoked

    def get_user(self) -> User:
        return self.user


@dataclass
class AuthorizationCode(AuthorizationCodeMixin):
    """A code for one use (RFC 6749 section 4.1.2), bound to the request that it answers."""

    client_id: str
    user: User
    scope: str
    redirect_uri: str | None
    code_challenge: str
    code_challenge_method: str
    audience: list[str]
    nonce: str | None
    auth_time: int
    expires_at: float
    used: bool = False
    issued: list[AccessToken] = field(default_factory=list, repr=False)

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.auth_time


@dataclass
class DeviceRequest(DeviceCredentialMixin):
    """What a device waits for (RFC 8628); ``approved`` is None until somebody decides."""

    client_id: str
    scope: str
    audience: list[str]
    user_code: str
    interval: float
    expires_at: float
    clock: Clock = field(repr=False)
    polled_at: float | None = None
    user: User | None = None
    approved: bool | None = None

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_user_code(self) -> str:
        return self.user_code

    def is_expired(self) -> bool:
        return self.clock.now() >= self.expires_at


def _digest(secret: str) -> str:
    # Looked up by digest: neither a dump of the store nor a comparison's time shows a token.
    return hashlib.sha256(secret.encode()).hexdigest()


class Store:
    """The server's memory. ``lock`` is held through every request that reads or writes it."""

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.families_revoked = 0
        self._clock = clock
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, Family] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._devices: dict[str, DeviceRequest] = {}
        self._seen: dict[tuple[str, str], float] = {}
        self._next_sweep = SWEEP_FROM

    # Access tokens

    def add_access(self, token: AccessToken) -> None:
        with self.lock:
            if len(self._access) >= self._next_sweep:
                self._sweep()
            self._access[_digest(token.text)] = token

    def _sweep(self) -> None:
        """Forget what ended an hour ago, so that a server that stays up does not grow for ever."""
        end = self._clock.now() - 3600
        self._access = {key: one for key, one in self._access.items() if one.expires_at > end}
        self._codes = {key: one for key, one in self._codes.items() if one.expires_at > end}
        self._devices = {key: one for key, one in self._devices.items() if one.expires_at > end}
        self._next_sweep = 2 * len(self._access) + SWEEP_FROM

    def access(self, text: str) -> AccessToken | None:
        """The token of this text, expired and revoked ones too."""
        return self._access.get(_digest(text))

    def access_tokens(self) -> Iterator[AccessToken]:
        """All of them, in the order of their issue."""
        with self.lock:
            return iter(tuple(self._access.values()))

    # Refresh tokens

    def refresh(self, text: str) -> Family | None:
        """The family that a refresh token belongs to, whatever became of both."""
        return self._refresh.get(_digest(text))

    def rotate(self, family: Family) -> str:
        """A new refresh token for the family, which makes the present one its former one."""
        with self.lock:
            family.former, family.current = family.current or None, secrets.token_urlsafe(32)
            family.replaced_at = self._clock.now()
            family.rotations += 1
            self._refresh[_digest(family.current)] = family
            return family.current

    def revoke(self, family: Family, *, reuse: bool = False) -> None:
        """End a family and every access token that came from it."""
        with self.lock:
            self.families_revoked += reuse and not family.revoked
            family.revoked = True

    # Codes of browsers and devices

    def add_code(self, text: str, code: AuthorizationCode) -> None:
        with self.lock:
            self._codes[_digest(text)] = code

    def take_code(self, text: str, client_id: str) -> AuthorizationCode | None:
        """The code, once, to the client that it is for; a second use ends what the first brought."""
        with self.lock:
            code = self._codes.get(_digest(text))
            if code is None or code.client_id != client_id:
                return None
            if code.used:
                self._revoke_issued(code)
                return None
            code.used = True
            return code if self._clock.now() < code.expires_at else None

    def _revoke_issued(self, code: AuthorizationCode) -> None:
        for token in code.issued:
            token.revoked = True
            if token.family:
                self.revoke(token.family)

    def add_device(self, device_code: str, device: DeviceRequest) -> None:
        with self.lock:
            self._devices[_digest(device_code)] = device

    def device(self, device_code: str) -> DeviceRequest | None:
        return self._devices.get(_digest(device_code))

    def forget_device(self, device: DeviceRequest) -> None:
        """A device code is good for one answer."""
        with self.lock:
            self._devices = {key: one for key, one in self._devices.items() if one is not device}

    def device_of(self, user_code: str) -> DeviceRequest | None:
        """The undecided request whose code somebody typed, in any case, with or without its dash."""
        wanted = _plain(user_code)
        with self.lock:
            found = (
                one
                for one in self._devices.values()
                if one.approved is None and not one.is_expired() and _plain(one.user_code) == wanted
            )
            return next(found, None)

    # What may be seen once

    def first_sight(self, owner: str, value: str, until: float) -> bool:
        """True the first time that an owner shows a value (jti, nonce); kept until that time."""
        with self.lock:
            now = self._clock.now()
            if len(self._seen) > 10_000:
                self._seen = {key: end for key, end in self._seen.items() if end > now}
            new = not self.seen(owner, value)
            self._seen[owner, value] = until
            return new

    def seen(self, owner: str, value: str) -> bool:
        """True if the owner showed the value before."""
        return self._seen.get((owner, value), 0.0) > self._clock.now()


def _plain(user_code: str) -> str:
    return "".join(char for char in user_code.upper() if char.isalnum())
