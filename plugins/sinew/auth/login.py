"""A person logs in: in the browser (RFC 6749 §4.1, PKCE, loopback) or on another device (RFC 8628)."""

from __future__ import annotations

import secrets
import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from sinew.auth import forms
from sinew.auth.answers import Answer, plain
from sinew.auth.checks import check_id_token
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.received import received, unusable
from sinew.auth.redirect import Redirect, Waiter, code_of, has_state, redirect_of
from sinew.auth.server import AuthorizationServer
from sinew.auth.showing import Shown, shown
from sinew.auth.store import StoredToken, TokenStore
from sinew.errors import (
    AuthenticationError,
    ConfigurationError,
    LoginNeededError,
    TokenInvalidError,
    TokenRefusedError,
    UnavailableError,
)

_BROWSER_SECONDS = 300.0
# RFC 8628 §3.2: where the server does not say.
_POLL_SECONDS = 5.0
_CODE_SECONDS = 600.0


@dataclass(frozen=True)
class Prompt:
    """What a person must see to log in.

    ``url`` is to be opened; ``user_code`` is to be typed there, if the login is by device;
    ``expires_in`` is the seconds that there are.
    """

    url: str
    user_code: str | None = None
    url_with_code: str | None = None
    expires_in: float = _BROWSER_SECONDS


Show = Callable[[Prompt], None]


def login(
    endpoint: ApiEndpoint,
    tokens: TokenStore,
    *,
    show: Show,
    open_browser: Callable[[str], bool] = webbrowser.open,
    paste: Callable[[], str] | None = None,
    seconds: float = _BROWSER_SECONDS,
) -> Shown:
    """Get a token by a person's consent and store it; says what was granted.

    ``show`` is told what the person must see, before ``open_browser`` is called with the same URL.
    With ``paste``, for a machine whose browser is elsewhere, nothing listens: it returns the URL that
    the browser ended at. Raises LoginNeededError, AuthenticationError or RetriableError.
    """
    server = AuthorizationServer(endpoint)
    if server.auth.grant == "authorization_code":
        token = _by_browser(server, show, open_browser, paste, seconds)
    elif server.auth.grant == "device_code":
        token = _by_device(server, show)
    else:
        raise ConfigurationError(
            f"connection {endpoint.conn_id!r} has grant {server.auth.grant!r}, which needs no login; a login is for "
            "authorization_code and device_code: use the connection as it is, or change auth.grant"
        )
    with tokens.slot(endpoint.slot) as slot:
        slot.save(token)
    return shown(endpoint, token)


def _by_browser(
    server: AuthorizationServer,
    show: Show,
    open_browser: Callable[[str], bool],
    paste: Callable[[], str] | None,
    seconds: float,
) -> StoredToken:
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    redirect = redirect_of(server.auth.redirect_uri)
    if paste is not None:
        # The port is only for the server to compare; nobody listens there.
        redirect = Redirect(redirect.host, redirect.port or 8976, redirect.path)
        show(
            Prompt(_authorization_url(server, redirect, state, nonce, verifier), expires_in=seconds)
        )
        parameters = _pasted(paste(), state)
    else:
        with Waiter(redirect, state) as waiter:
            redirect = waiter.redirect
            url = _authorization_url(server, redirect, state, nonce, verifier)
            show(Prompt(url, expires_in=seconds))
            open_browser(url)
            parameters = waiter.wait(seconds)
    code = code_of(server, parameters)
    form = forms.code_exchange(server, code, redirect.uri, verifier)
    sent_at = time.monotonic()
    # Once: a code that was received twice is a stolen one to the server (RFC 6749 §4.1.2).
    answer = server.token(form, "a login", tries=1)
    return _checked(server, answer, sent_at, nonce)


def _authorization_url(
    server: AuthorizationServer, redirect: Redirect, state: str, nonce: str, verifier: str
) -> str:
    auth = server.auth
    extra: dict[str, Any] = {
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
        "nonce": nonce if "openid" in auth.scope else None,
        "audience": list(auth.audience),
        "resource": list(auth.resource),
        **auth.authorization_params,
    }
    url: str = prepare_grant_uri(
        server.url("authorization_endpoint", "a login"),
        client_id=auth.client_id,
        response_type="code",
        redirect_uri=redirect.uri,
        scope=" ".join(auth.scope) or None,
        state=state,
        **extra,
    )
    return url


def _pasted(text: str, state: str) -> Mapping[str, str]:
    parameters = dict(parse_qsl(urlsplit(text.strip()).query, keep_blank_values=True))
    if not has_state(parameters, state):
        raise TokenInvalidError(
            "what was pasted is not the answer to this login (another state, or none): paste the whole URL "
            "that the browser ended at, of the login that was just started",
            "state",
        )
    return parameters


def _checked(
    server: AuthorizationServer, answer: Answer, sent_at: float, nonce: str | None
) -> StoredToken:
    token = received(server, answer, sent_at=sent_at)
    if (wrong := unusable(server, answer, token)) is not None:
        raise wrong
    if "openid" in server.auth.scope:
        check_id_token(server, token, nonce)
    return token


def _by_device(server: AuthorizationServer, show: Show) -> StoredToken:
    form = forms.asking(server)
    answer = server.post("device_authorization_endpoint", form, needed_for="a login by device")
    body = answer.body
    device_code, user_code = body.get("device_code"), body.get("user_code")
    uri = body.get("verification_uri") or body.get("verification_url")
    if not (isinstance(device_code, str) and isinstance(user_code, str) and isinstance(uri, str)):
        raise AuthenticationError(
            "the device authorization endpoint answered without device_code, user_code or verification_uri: "
            "correct auth.device_authorization_endpoint"
        )
    lifetime = _number(body.get("expires_in"), _CODE_SECONDS)
    complete = body.get("verification_uri_complete")
    show(
        Prompt(
            plain(uri, 500),
            plain(user_code, 60),
            plain(complete, 600) if isinstance(complete, str) else None,
            lifetime,
        )
    )
    interval = _number(body.get("interval"), _POLL_SECONDS)
    return _polled(server, device_code, interval, time.monotonic() + lifetime)


def _polled(
    server: AuthorizationServer, device_code: str, interval: float, deadline: float
) -> StoredToken:
    while time.monotonic() + interval < deadline:
        time.sleep(interval)
        sent_at = time.monotonic()
        try:
            form = forms.device_poll(server, device_code)
            answer = server.token(form, "a login by device", tries=1)
        except TokenRefusedError as error:
            if error.code == "slow_down":
                interval += 5  # RFC 8628 §3.5
            elif error.code != "authorization_pending":
                raise
        except UnavailableError:
            interval *= 2  # §3.5: back off on a time-out
        else:
            # The device flow has no nonce: nobody else's browser could have brought an answer.
            return _checked(server, answer, sent_at, nonce=None)
    raise LoginNeededError("the code was not confirmed in time: start the login again")


def _number(value: Any, otherwise: float) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if good else otherwise
