"""A ``requests.Session`` that proves who it is to its own API, and to no other server."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

import requests
from requests.utils import rewind_body

from sinew.auth import signing
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.findings import secrets_in
from sinew.auth.life import TokenSource
from sinew.auth.models import ApiKey, Basic, Bearer, Hmac, OAuth2
from sinew.auth.origins import origin
from sinew.auth.quiet import mask_parameter
from sinew.auth.store import TokenStore
from sinew.auth.transport import TlsAdapter, no_auth, timeouts, translated
from sinew.errors import AuthenticationError

log = logging.getLogger(__name__)

# Threads that may share a session without waiting for a connection or making throw-away ones.
_POOL = 32


def open_session(endpoint: ApiEndpoint, tokens: TokenStore) -> requests.Session:
    """A session for an endpoint's API.

    URLs may be relative to its base URL. Requests to the endpoint's own origin are authenticated,
    others never; a redirect elsewhere carries no secret. A 401 renews an OAuth token once and is
    tried once more, if the body can be sent again. Time-outs are always set.

    Raises AuthenticationError or TlsError where a person must act; ServerUnreachableError and
    ServerTimeoutError, which are both RetriableError and of requests' own classes. Safe for threads.
    """
    return ApiSession(endpoint, tokens)


class ApiSession(requests.Session):
    """See open_session."""

    def __init__(self, endpoint: ApiEndpoint, tokens: TokenStore) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.token_source = TokenSource(endpoint, tokens) if endpoint.oauth2 else None
        self._apply = _applying(endpoint, self.token_source)
        # A callable that does nothing, or requests would look into ~/.netrc.
        self.auth = no_auth
        for name in endpoint.headers:
            # What the library would send by itself, such as User-Agent, gives way to the connection's.
            self.headers.pop(name, None)
        self.mount("https://", TlsAdapter(endpoint.tls, _POOL))
        self.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_POOL))

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As the base class, with URLs relative to the endpoint's base URL."""
        if "://" not in (request.url or "").partition("?")[0]:
            request.url = f"{self.endpoint.base_url}/{(request.url or '').lstrip('/')}"
        return super().prepare_request(request)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Authenticate and send; redirects come through here too, one by one."""
        if kwargs.get("verify") is False:
            raise AuthenticationError(
                "verify=False would accept any server; allowed: True: name a private CA in tls.ca instead"
            )
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = timeouts(self.endpoint.timeout)
        if not self._own(request.url):
            return self._sent(request, request, kwargs)
        signed = request.copy()
        for name, value in self.endpoint.headers.items():
            signed.headers.setdefault(name, value.get_secret_value())
        used = self._apply(signed, None)
        response = self._sent(request, signed, kwargs)
        refused = response.status_code == 401 and response.request is request
        if refused and used is not None and _can_be_sent_again(request):
            return self._sent_again(request, response, used, kwargs)
        return response

    def _sent_again(
        self,
        request: requests.PreparedRequest,
        response: requests.Response,
        used: str,
        kwargs: dict[str, Any],
    ) -> requests.Response:
        response.close()  # gives the connection back
        signed = request.copy()
        if _position(signed) is not None:
            rewind_body(signed)
        for name, value in self.endpoint.headers.items():
            signed.headers.setdefault(name, value.get_secret_value())
        self._apply(signed, used)
        return self._sent(request, signed, kwargs)

    def _sent(
        self,
        request: requests.PreparedRequest,
        signed: requests.PreparedRequest,
        kwargs: dict[str, Any],
    ) -> requests.Response:
        with translated(request.url or "", "the API"):
            response = super().send(signed, **kwargs)
        for answer in (response, *response.history):
            if answer.request is signed:
                # What hangs on a response ends up in logs and errors: the request without its secret.
                answer.request = request
                answer.url = request.url or ""
        return response

    def public_url(self, url: str) -> str:
        """A URL without the key that goes into the query: servers repeat it in the next page's address."""
        auth = self.endpoint.auth
        if isinstance(auth, ApiKey) and auth.place == "query":
            return _without_parameter(url, auth.name)
        return url

    def secrets(self) -> tuple[str, ...]:
        """What must not be repeated where a server quotes what it was given."""
        said = (*secrets_in(self.endpoint.auth), *secrets_in(dict(self.endpoint.headers)))
        return said + tuple(self.token_source.used if self.token_source else ())

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Take every secret off a redirected request; ``send`` adds what its target may have."""
        for name in ("Authorization", "Cookie", *_secret_headers(self.endpoint)):
            if name != "Cookie" or not self._own(prepared_request.url):
                prepared_request.headers.pop(name, None)
        if not self._own(prepared_request.url):
            log.warning(
                "%s redirects to %s, which gets no secret of connection %s",
                self.endpoint.origin, origin(prepared_request.url or ""), self.endpoint.conn_id,
            )  # fmt: skip

    def _own(self, url: str | None) -> bool:
        return origin(url or "") == self.endpoint.origin

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "a session is not sent to another process: send the endpoint and the store, and open one there"
        )


def _can_be_sent_again(request: requests.PreparedRequest) -> bool:
    """Whether a body is still there after it was sent: text and bytes, or a file that can be rewound."""
    return (
        request.body is None
        or isinstance(request.body, str | bytes | bytearray)
        or isinstance(_position(request), int)
    )


def _position(request: requests.PreparedRequest) -> object:
    """Where a file stood before it was sent, which requests keeps for redirects."""
    return getattr(request, "_body_position", None)


# Puts the proof into a request; takes the access token that was refused, if one was, and returns
# the one that it used, if there is another to be had.
Apply = Callable[[requests.PreparedRequest, str | None], str | None]


def _applying(endpoint: ApiEndpoint, source: TokenSource | None) -> Apply:
    auth = endpoint.auth
    if isinstance(auth, OAuth2):
        assert source is not None
        return _bearer_of(source)
    if isinstance(auth, ApiKey):
        return _fixed(_api_key(auth))
    if isinstance(auth, Basic):
        pair = f"{auth.username}:{auth.password.get_secret_value()}".encode()
        return _fixed(_header("Authorization", f"Basic {b64encode(pair).decode()}"))
    if isinstance(auth, Bearer):
        return _fixed(_header("Authorization", f"Bearer {auth.token.get_secret_value()}"))
    if isinstance(auth, Hmac):
        return _fixed(lambda request: signing.sign(request, auth))
    return _fixed(lambda request: None)


def _bearer_of(source: TokenSource) -> Apply:
    def apply(request: requests.PreparedRequest, refused: str | None) -> str | None:
        token = source.current() if refused is None else source.renewed(refused)
        request.headers["Authorization"] = f"Bearer {token}"
        return token

    return apply


def _fixed(change: Callable[[requests.PreparedRequest], None]) -> Apply:
    def apply(request: requests.PreparedRequest, refused: str | None) -> None:
        change(request)

    return apply


def _header(name: str, value: str) -> Callable[[requests.PreparedRequest], None]:
    def change(request: requests.PreparedRequest) -> None:
        request.headers[name] = value

    return change


def _api_key(auth: ApiKey) -> Callable[[requests.PreparedRequest], None]:
    value = auth.prefix + auth.key.get_secret_value()
    if auth.place == "header":
        return _header(auth.name, value)
    if auth.place == "query":
        # As it stands in a URL.
        mask_parameter(quote(auth.name, safe=""))
    return lambda request: _in_query_or_cookie(request, auth, value)


def _in_query_or_cookie(request: requests.PreparedRequest, auth: ApiKey, value: str) -> None:
    if auth.place == "cookie":
        others = request.headers.get("Cookie")
        request.headers["Cookie"] = "; ".join(filter(None, [others, f"{auth.name}={value}"]))
        return
    url = urlsplit(_without_parameter(request.url or "", auth.name))
    added = f"{quote(auth.name, safe='')}={quote(value, safe='')}"
    request.url = url._replace(query="&".join(filter(None, [url.query, added]))).geturl()


def _without_parameter(url: str, name: str) -> str:
    parts = urlsplit(url)
    kept = [pair for pair in parts.query.split("&") if unquote_plus(pair.partition("=")[0]) != name]
    return parts._replace(query="&".join(kept)).geturl()


def _secret_headers(endpoint: ApiEndpoint) -> list[str]:
    names = list(endpoint.headers)
    if isinstance(endpoint.auth, ApiKey) and endpoint.auth.place == "header":
        names.append(endpoint.auth.name)
    if isinstance(endpoint.auth, Hmac):
        names += signing.header_names(endpoint.auth)
    return names
