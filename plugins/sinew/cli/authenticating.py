"""Commands about a connection's proof: login, test, show, logout. None prints a secret."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict

from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.login import Prompt, login
from sinew.auth.probing import Probe, probe
from sinew.auth.showing import Shown, logout, show
from sinew.auth.store import TokenStore
from sinew.cli.entry import DONE, MISCONFIGURED, TRY_AGAIN
from sinew.cli.given import knows_variable
from sinew.errors import ConfigurationError
from sinew.hooks.apis import (
    FERNET_VARIABLE,
    api_endpoint,
    api_endpoint_from_env,
    token_store,
    token_store_from_env,
    tokens_conn,
    tokens_of,
)


def log_in(options: Namespace) -> int:
    """Have a person consent, and store the token that comes of it."""
    endpoint = _endpoint(options.connection)
    tokens = _tokens(endpoint)
    _check_device(endpoint, options)
    found = login(
        endpoint,
        tokens,
        show=_tell,
        open_browser=(lambda url: True) if options.no_browser else webbrowser.open,
        paste=_pasted if options.paste else None,
    )
    for line in _about(found):
        print(line)
    return 0


def _check_device(endpoint: ApiEndpoint, options: Namespace) -> None:
    """The grant is the connection's; the option only says which one is meant."""
    grant = endpoint.oauth2.grant if endpoint.oauth2 else endpoint.auth.type
    if options.device and grant != "device_code":
        raise ConfigurationError(
            f"--device is given, and connection {endpoint.conn_id!r} has {grant!r}; allowed: grant device_code, "
            "because renewals go by the connection: change auth.grant, or leave --device out"
        )


def _tell(prompt: Prompt) -> None:
    if prompt.user_code is None:
        print(f"Open this address to log in:\n\n  {prompt.url}\n")
    else:
        print(f"Open {prompt.url} on any device and type the code\n\n  {prompt.user_code}\n")
        if prompt.url_with_code:
            print(f"or open {prompt.url_with_code}\n")
    minutes = max(1, round(prompt.expires_in / 60))
    print(f"Waiting, for {minutes} min at most ...", flush=True)


def _pasted() -> str:
    print("Paste the address that the browser ended at, though it shows no page:", flush=True)
    return sys.stdin.readline()


def test(options: Namespace) -> int:
    """Send one request; 0 when the API took the proof."""
    endpoint = _endpoint(options.connection)
    found = probe(endpoint, _tokens(endpoint), options.path)
    for line in _tried(found):
        print(line)
    if found.status >= 500:
        return TRY_AGAIN
    return DONE if found.good else MISCONFIGURED


def _tried(found: Probe) -> Iterator[str]:
    yield f"{found.method} {found.url}"
    yield f"  sent      {found.sent}"
    yield f"  headers   {', '.join(found.headers)}"
    yield f"  TLS       {found.tls}"
    kind = f", {found.content_type}" if found.content_type else ""
    yield f"  answered  {found.status} {found.reason} in {found.seconds:.2f} s{kind}"
    for name, value in found.answer.items():
        yield f"            {name}: {value}"
    if found.token is not None:
        yield from (f"  {line}" for line in _about(found.token))
    if found.status >= 500:
        yield "The API is not well, so that nobody knows what it thinks of the proof: try again later."
    elif found.advice:
        yield f"{found.advice[0].upper()}{found.advice[1:]}."
    else:
        yield "The API took the proof."


def show_token(options: Namespace) -> int:
    """Print what is known of the stored token; 0 also when there is none."""
    endpoint = _endpoint(options.connection)
    found = show(endpoint, _tokens(endpoint))
    if options.json:
        print(json.dumps(asdict(found), indent=2, default=str))
    else:
        for line in _about(found):
            print(line)
    return 0


_STATES = {
    "none": "none is stored",
    "alive": "alive",
    "expired": "expired",
    "ended": "ended for good: log in again",
}


def _about(found: Shown) -> Iterator[str]:
    yield f"token     {_STATES[found.state]}"
    if found.state == "none":
        return
    yield f"scopes    {' '.join(found.scopes) or 'not said'}"
    yield f"expires   {_expiry(found)}"
    yield f"renewal   {'by itself' if found.renewable else 'only by a login'}"
    if found.certificate_bound:
        yield "bound     to our certificate"
    for name, value in sorted(found.claims.items()):
        yield f"claim     {name} = {json.dumps(value, ensure_ascii=False)}"


def _expiry(found: Shown) -> str:
    if found.expires_in is None or found.expires_at is None:
        return "not said"
    at = found.expires_at.isoformat(sep=" ", timespec="seconds")
    left = round(found.expires_in)
    return f"{at}, {f'in {left:,} s' if left > 0 else f'{-left:,} s ago'}"


def log_out(options: Namespace) -> int:
    """Revoke the tokens at the server and forget them."""
    endpoint = _endpoint(options.connection)
    found = logout(endpoint, _tokens(endpoint))
    if not found.was_stored:
        print("There was no token.")
    elif found.revoked:
        kinds = " and ".join(kind.replace("_", " ") for kind in found.revoked)
        print(f"The server has revoked the {kinds}; nothing is stored any more.")
    else:
        print(
            "Nothing is stored any more. The server offers no revocation: what was issued lives until it expires."
        )
    return 0


def _endpoint(conn_id: str) -> ApiEndpoint:
    """By its variable; without one, as Airflow knows it."""
    if knows_variable(conn_id):
        return api_endpoint_from_env(conn_id)
    try:
        return api_endpoint(conn_id)
    except ModuleNotFoundError:
        return api_endpoint_from_env(conn_id)


def _tokens(endpoint: ApiEndpoint) -> TokenStore:
    """The installation's store, for what has tokens."""
    return tokens_of(endpoint, _store)


def _store() -> TokenStore:
    if knows_variable(tokens_conn()) and os.environ.get(FERNET_VARIABLE):
        return token_store_from_env()
    try:
        return token_store()
    except ModuleNotFoundError:
        return token_store_from_env()
