"""An Airflow connection as an endpoint: where an API is, and how requests to it prove who they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from sinew.auth.combining import problems_of_oauth2, problems_of_tls
from sinew.auth.findings import Found, problems_of
from sinew.auth.models import TYPES, Auth, Extra, NoAuth, OAuth2, Timeout, Tls
from sinew.auth.origins import is_local, origin, without_query
from sinew.errors import EndpointError, Problem


@dataclass(frozen=True)
class ConnectionParts:
    """What an Airflow connection says; ``schema`` is http or https, as in the http provider."""

    conn_id: str
    conn_type: str = "http"
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ApiEndpoint:
    """An API and how to reach it; picklable, and its repr shows no secret."""

    conn_id: str
    base_url: str
    auth: Auth = NoAuth()
    tls: Tls | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    timeout: Timeout = Timeout()
    insecure_http: bool = False

    @property
    def origin(self) -> str:
        """scheme://host:port that tokens and keys are sent to, and to no other."""
        return origin(self.base_url)

    @property
    def oauth2(self) -> OAuth2 | None:
        """The auth block, if it is of that type."""
        return self.auth if isinstance(self.auth, OAuth2) else None

    @property
    def slot(self) -> str:
        """The key of this endpoint's token: a change of scope, client or API is another token.

        What only proves the client (secrets, keys, certificates) is left out, so that renewing
        one of these does not make a person log in again.
        """
        oauth2 = self.oauth2
        said = oauth2.model_dump(mode="json", include=_IDENTITY) if oauth2 else {}
        text = json.dumps([said, self.origin], sort_keys=True)
        return f"{self.conn_id}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


_IDENTITY: Any = {
    "grant": True,
    "client_id": True,
    "issuer": True,
    "token_endpoint": True,
    "scope": True,
    "audience": True,
    "resource": True,
    "token_params": True,
    "authorization_params": True,
    "subject_token_type": True,
    "requested_token_type": True,
    "assertion": {"issuer", "subject", "audience", "claims"},
}


def read_endpoint(parts: ConnectionParts) -> ApiEndpoint:
    """The endpoint that a connection describes.

    Raises EndpointError that lists everything that is wrong, with its path in the extra.
    """
    said = _with_login(parts)
    found = [*_address_problems(parts), *_combination_problems(said)]
    extra: Extra | None = None
    try:
        extra = Extra.model_validate(said)
    except ValidationError as error:
        known = {path for path, _ in found}
        found += [item for item in problems_of(error) if item[0] not in known]
    if extra is not None:
        found += _security_problems(parts, extra)
    if found or extra is None:
        raise EndpointError(
            Problem(None, f"connection {parts.conn_id!r}: {path}: {message}")
            for path, message in found
        )
    return ApiEndpoint(
        parts.conn_id,
        _base_url(parts),
        extra.auth,
        extra.tls,
        extra.headers,
        extra.timeout,
        extra.insecure_http,
    )


def _base_url(parts: ConnectionParts) -> str:
    """As the http provider reads host, schema and port."""
    host = (parts.host or "").strip()
    url = host if "://" in host else f"{parts.schema or 'http'}://{host}"
    split = urlsplit(url)
    if parts.port and split.port is None:
        url = split._replace(netloc=f"{split.netloc}:{parts.port}").geturl()
    return url.rstrip("/")


def _address_problems(parts: ConnectionParts) -> Iterator[Found]:
    if not parts.host:
        yield "host", "is missing; it says where the API is: fill in a host or a URL"
        return
    try:
        split = urlsplit(_base_url(parts))
        host, scheme, _ = split.hostname, split.scheme, split.port
    except ValueError:
        yield (
            "host",
            "is no URL that can be read; allowed: api.example.com or https://api.example.com/v1: correct it",
        )
        return
    if scheme not in ("http", "https"):
        yield "schema", f"is {scheme!r}; allowed: http, https: change it"
    if not host:
        yield (
            "host",
            "names no host; allowed: api.example.com or https://api.example.com/v1: correct it",
        )
    if split.username is not None or split.password is not None:
        yield (
            "host",
            "holds a user name or password: move them to the connection's login and password",
        )
    if split.query or split.fragment:
        yield "host", "holds a query or fragment; allowed: scheme, host, port and path: remove them"


def _with_login(parts: ConnectionParts) -> dict[str, Any]:
    """The extra, with login and password put where its type of authentication reads them."""
    said = dict(parts.extra)
    auth = said.get("auth")
    if auth is None and (parts.login or parts.password):
        # As the http provider does it: a login alone means Basic.
        auth = {"type": "basic"}
    if not isinstance(auth, Mapping):
        return said
    auth = dict(auth)
    if auth.get("type") == "oauth2":
        _choose_client_auth(auth, parts.password)
    login, password = _places(auth)
    if login and parts.login:
        auth.setdefault(login, parts.login)
    if password and parts.password:
        auth.setdefault(password, parts.password)
    said["auth"] = auth
    return said


_PLACES = {
    "api_key": (None, "key"),
    "basic": ("username", "password"),
    "bearer": (None, "token"),
    "hmac": ("key_id", "secret"),
}


def _places(auth: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Which keys of the block the connection's login and password stand for."""
    if auth.get("type") != "oauth2":
        return _PLACES.get(str(auth.get("type")), (None, None))
    way, grant = str(auth.get("client_auth")), auth.get("grant")
    if way.startswith("client_secret"):
        return "client_id", "client_secret"
    if way == "private_key_jwt" or grant == "jwt_bearer":
        return "client_id", "private_key"
    if grant == "refresh_token":
        return "client_id", "refresh_token"
    return "client_id", None


def _choose_client_auth(auth: dict[str, Any], password: str | None) -> None:
    if auth.get("client_auth") is not None:
        return
    grant = auth.get("grant")
    secret = auth.get("client_secret") or (
        password and grant not in ("jwt_bearer", "refresh_token")
    )
    confidential = bool(secret) or grant == "client_credentials"
    auth["client_auth"] = "client_secret_basic" if confidential else "none"


def _combination_problems(said: Mapping[str, Any]) -> Iterator[Found]:
    auth, tls = said.get("auth"), said.get("tls")
    if isinstance(auth, Mapping):
        if auth.get("type") == "oauth2":
            yield from problems_of_oauth2(auth, tls)
            yield from problems_of_tls(auth.get("tls"), "auth.tls")
        elif "type" in auth and auth["type"] not in TYPES:
            return
    yield from problems_of_tls(tls, "tls")


def _security_problems(parts: ConnectionParts, extra: Extra) -> Iterator[Found]:
    """Addresses that would carry a secret in clear over a network."""
    remedy = "use https, or say `insecure_http: true` in the extra if the network itself is safe"
    try:
        base = _base_url(parts)
    except ValueError:
        return
    secretive = not isinstance(extra.auth, NoAuth) or extra.headers
    if secretive and not _may_carry(base, extra.insecure_http):
        yield (
            "schema",
            f"is http for {urlsplit(base).hostname}, which sends secrets in clear; allowed: https: {remedy}",
        )
    if isinstance(extra.auth, OAuth2):
        for name in OAuth2.model_fields:
            value = getattr(extra.auth, name)
            if (name.endswith("_endpoint") or name in ("issuer", "jwks_uri")) and value:
                if not _may_carry(value, extra.insecure_http):
                    yield (
                        f"auth.{name}",
                        f"is {_url_shown(value)}; allowed: a URL with https and a host: {remedy}",
                    )


def _url_shown(text: str) -> str:
    """A URL for a message; what is none may be a secret in the wrong place."""
    try:
        return repr(without_query(text)) if "://" in text else "no URL"
    except ValueError:
        return "no URL that can be read"


def _may_carry(url: str, insecure: bool) -> bool:
    try:
        split = urlsplit(url)
        host, _ = split.hostname, split.port
    except ValueError:
        return False
    return bool(host) and (split.scheme == "https" or _clear(split.scheme, host, insecure))


def _clear(scheme: str, host: str | None, insecure: bool) -> bool:
    return scheme == "http" and (insecure or is_local(host))
