"""The life of an access token, shared by all processes: got once, renewed by one, used by all.

The order that must not change: the lock of the slot, the request, the commit of the answer, and
only then the use of the new access token. A process that dies before the commit leaves the old
refresh token, which the next one tries; a server that takes it once more (its overlap window)
heals that, and one that does not ends in a LoginNeededError.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sinew.auth import forms
from sinew.auth.checks import check_renewed_id_token
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.received import received, unusable, without_access
from sinew.auth.server import AuthorizationServer, Form
from sinew.auth.store import Slot, StoredToken, TokenStore
from sinew.errors import LoginNeededError, RetriableError, SinewError, TokenRefusedError

log = logging.getLogger(__name__)

_LEEWAY = 60.0
# After a failed renewal ahead of expiry, the living token is used this long before the next try.
_PATIENCE = 15.0
_BY_PERSON = ("authorization_code", "device_code")


@dataclass(frozen=True)
class _Held:
    """A token in this process, and the monotonic time from which on it is renewed."""

    access_token: str = field(repr=False)
    renew_at: float | None


class TokenSource:
    """The access token of one endpoint. Safe for threads; each process has its own."""

    def __init__(
        self, endpoint: ApiEndpoint, tokens: TokenStore, server: AuthorizationServer | None = None
    ) -> None:
        self.server = server or AuthorizationServer(endpoint)
        self._endpoint, self._tokens, self._auth = endpoint, tokens, self.server.auth
        self._key = endpoint.slot
        self._held: _Held | None = None
        # The last ones that were handed out, so that they can be masked in what others say.
        self.used: deque[str] = deque(maxlen=8)
        self._guard = threading.Lock()

    def current(self) -> str:
        """An access token that is good for a while; asks the store, and the server, only if needed.

        Raises LoginNeededError, AuthenticationError, or RetriableError where waiting can help.
        """
        with self._guard:
            if (held := self._held) and (held.renew_at is None or time.monotonic() < held.renew_at):
                return held.access_token
            stored = self._tokens.peek(self._key)
            if stored is not None and self._fresh(stored):
                return self._hold(stored)
            return self._renew(refused=None, last=stored)

    def renewed(self, refused: str) -> str:
        """Another access token than the one that an API refused with 401.

        If another process has renewed it already, that one's is taken, and the server is not asked.
        """
        with self._guard:
            held = self._held
            if held is not None and held.access_token != refused:
                return held.access_token
            return self._renew(refused=refused, last=None)

    def _renew(self, refused: str | None, last: StoredToken | None) -> str:
        try:
            with self._tokens.slot(self._key) as slot:
                stored = slot.load()
                if stored is not None and self._fresh(stored) and stored.access_token != refused:
                    return self._hold(stored)
                return self._hold(self._renew_in(slot, stored))
        except RetriableError as error:
            if refused is None and last is not None and self._alive(last):
                # Renewal is ahead of expiry, so that a server may be away for a moment.
                log.warning(
                    "the token of %s could not be renewed ahead of time: %s",
                    self._endpoint.conn_id,
                    error,
                )
                return self._hold(last, patience=_PATIENCE)
            raise

    def _renew_in(self, slot: Slot, stored: StoredToken | None) -> StoredToken:
        seed = forms.seed_of(self.server)
        if stored is not None and stored.seed != seed:
            stored = None  # a person gave another secret to start from
        if stored is not None and stored.ended:
            raise self._login_needed(f"its refresh token was refused before ({stored.ended})")
        refresh = stored.refresh_token if stored else None
        if refresh is None and self._auth.grant == "refresh_token" and self._auth.refresh_token:
            refresh = self._auth.refresh_token.get_secret_value()
        if refresh is None and self._auth.grant in _BY_PERSON:
            raise self._login_needed(
                "there is no token that could be renewed" if stored else "nobody logged in yet"
            )
        if refresh is None:
            return self._exchange(slot, _FORMS[self._auth.grant](self.server), None, seed)
        try:
            return self._exchange(
                slot, forms.refreshing(self.server, refresh), stored, seed, refresh
            )
        except TokenRefusedError as error:
            if error.code != "invalid_grant":
                raise  # the refresh token may be good still
            slot.save(
                replace(
                    stored or StoredToken(seed=seed),
                    access_token=None,
                    expires_in=None,
                    refresh_token=None,
                    ended=error.code,
                )
            )
            raise self._login_needed(
                f"the authorization server refused its refresh token: {error}"
            ) from None

    def _exchange(
        self,
        slot: Slot,
        form: Form,
        before: StoredToken | None,
        seed: str | None,
        refresh: str | None = None,
    ) -> StoredToken:
        sent_at = time.monotonic()
        answer = self.server.token(form, f"grant {self._auth.grant}")
        token = received(self.server, answer, sent_at=sent_at, before=before, seed=seed)
        if refresh is not None and token.refresh_token is None:
            token = replace(token, refresh_token=refresh)
        wrong = unusable(self.server, answer, token)
        if wrong is None and before is not None and "id_token" in answer.body:
            wrong = self._unproved(token, before)
        # Committed before anyone uses it; and even if it is of no use, its refresh token is the
        # only one that is left.
        slot.save(without_access(token, before) if wrong else token)
        if wrong:
            raise wrong
        return token

    def _unproved(self, token: StoredToken, before: StoredToken) -> SinewError | None:
        """Why the ID token of a renewal does not stand up, or could not be proved."""
        try:
            check_renewed_id_token(self.server, token, before)
        except SinewError as error:
            return error
        return None

    def _fresh(self, stored: StoredToken) -> bool:
        """Whether a stored token is ours to use and not yet due for renewal."""
        return self._usable(stored) and (
            stored.remaining is None or stored.remaining > self._leeway(stored)
        )

    def _alive(self, stored: StoredToken) -> bool:
        return self._usable(stored) and (stored.remaining or 0) > 1.0

    def _usable(self, stored: StoredToken) -> bool:
        return (
            stored.access_token is not None
            and stored.seed == forms.seed_of(self.server)
            and stored.thumbprint == self.server.thumbprint
        )

    def _leeway(self, stored: StoredToken) -> float:
        life = stored.lifetime or 0.0
        if self._auth.leeway is None:
            return min(_LEEWAY, life / 10)
        # More than half would renew a token that is hardly used.
        return min(self._auth.leeway, life / 2)

    def _hold(self, stored: StoredToken, patience: float | None = None) -> str:
        assert stored.access_token is not None
        now, remaining = time.monotonic(), stored.remaining
        dies_at = None if remaining is None else now + remaining
        renew_at = None if dies_at is None else dies_at - self._leeway(stored)
        if patience is not None and dies_at is not None:
            renew_at = min(now + patience, dies_at)
        self._held = _Held(stored.access_token, renew_at)
        self.used.append(stored.access_token)
        return stored.access_token

    def _login_needed(self, why: str) -> LoginNeededError:
        conn = self._endpoint.conn_id
        if self._auth.grant == "refresh_token":
            remedy = f"put a new refresh_token into connection {conn!r}"
        else:
            remedy = f"log in again with `sinew auth login {conn}`"
        return LoginNeededError(f"connection {conn!r} has no usable token: {why}: {remedy}")


_FORMS: dict[str, Callable[[AuthorizationServer], Form]] = {
    "client_credentials": forms.client_credentials,
    "jwt_bearer": forms.jwt_bearer,
    "token_exchange": forms.token_exchange,
}
