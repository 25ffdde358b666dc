"""The authorization server: its endpoints, given or discovered, and forms sent to them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.oauth2.rfc8414 import get_well_known_url

from sinew.auth.answers import Answer, plain, read_answer
from sinew.auth.client_auth import client_auth
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.findings import secrets_in
from sinew.auth.models import Tls
from sinew.auth.origins import is_local, without_query
from sinew.auth.refusals import refusal
from sinew.auth.tls import thumbprint
from sinew.auth.transport import (
    ServerTimeoutError,
    ServerUnreachableError,
    plain_session,
    timeouts,
    translated,
)
from sinew.errors import AuthenticationError, ServerBusyError

Form = list[tuple[str, str]]

_TRIES = 3
_FIRST_PAUSE = 0.5  # seconds; doubled, with jitter
# A longer wait is the scheduler's business: the lock of the token is held meanwhile.
_LONGEST_PAUSE = 10.0
_DISCOVERY_SECONDS = 3600.0
_SERVER_TIMEOUT_CAP = 30.0


class AuthorizationServer:
    """The server that an endpoint's ``oauth2`` block names. Safe for threads."""

    def __init__(self, endpoint: ApiEndpoint) -> None:
        auth = endpoint.oauth2
        if auth is None:
            raise AuthenticationError(
                f"connection {endpoint.conn_id!r} has auth.type {endpoint.auth.type!r}; this needs oauth2: "
                "change auth.type"
            )
        self.endpoint, self.auth = endpoint, auth
        self.skew: float | None = None
        self._session: requests.Session | None = None
        self._metadata: tuple[float, Mapping[str, Any]] | None = None

    @property
    def tls(self) -> Tls | None:
        """What TLS with this server uses."""
        return self.auth.tls or self.endpoint.tls

    @property
    def session(self) -> requests.Session:
        """A session with this server's TLS."""
        if self._session is None:
            self._session = plain_session(self.tls)
        return self._session

    @property
    def thumbprint(self) -> str | None:
        """``x5t#S256`` of the certificate that this server sees, to which it may bind tokens."""
        return thumbprint(self.tls)

    def metadata(self) -> Mapping[str, Any]:
        """The discovery document of the issuer; empty when no issuer is configured.

        OpenID Connect Discovery §4 is tried first, then RFC 8414 §3. Raises AuthenticationError when
        the document names another issuer.
        """
        if self.auth.issuer is None:
            return {}
        if self._metadata is None or time.monotonic() > self._metadata[0]:
            found = self._discover(self.auth.issuer)
            self._metadata = (time.monotonic() + _DISCOVERY_SECONDS, found)
        return self._metadata[1]

    def _discover(self, issuer: str) -> Mapping[str, Any]:
        urls = [
            issuer.rstrip("/") + "/.well-known/openid-configuration",
            get_well_known_url(issuer, external=True),
        ]
        for url in urls:
            answer = self.get_json(url, missing_ok=url != urls[-1])
            if answer is not None:
                _must_be_of(answer.body, issuer)
                return answer.body
        raise AssertionError("the last URL answers or raises")

    def url(self, name: str, needed_for: str) -> str:
        """An endpoint, such as ``token_endpoint``: as configured, else as discovered.

        Raises AuthenticationError when neither names it, or when it would carry secrets in clear.
        """
        url = self.optional_url(name)
        if url is None:
            raise AuthenticationError(
                f"{needed_for} needs the {name}, which neither the connection nor the issuer's document "
                f"names: add auth.{name}"
            )
        return url

    def optional_url(self, name: str) -> str | None:
        """The same, or None where nobody names it."""
        configured: str | None = getattr(self.auth, name, None)
        if configured:
            return configured
        found = self._discovered(name)
        if found is not None and not self._may_carry(found):
            raise AuthenticationError(
                f"the issuer's document names {without_query(found)} as {name}; allowed: https: have it mended, "
                "or say `insecure_http: true` in the extra if the network itself is safe"
            )
        return found

    def _discovered(self, name: str) -> str | None:
        metadata = self.metadata()
        found = metadata.get(name)
        if self.tls is not None and self.tls.certificate:
            # RFC 8705 §5: where clients with a certificate are served.
            aliases = metadata.get("mtls_endpoint_aliases")
            found = (aliases.get(name) if isinstance(aliases, Mapping) else None) or found
        return found if isinstance(found, str) and found else None

    def _may_carry(self, url: str) -> bool:
        if url.startswith("https://"):
            return True
        host = urlsplit(url).hostname
        return url.startswith("http://") and (self.endpoint.insecure_http or is_local(host))

    def assertion_audience(self) -> str:
        """Whom our assertions address: the token endpoint, the issuer, or as configured."""
        said = self.auth.assertion_audience
        if said == "issuer":
            return self.auth.issuer or ""
        if said is None or said == "token_endpoint":
            # The name that the server knows itself by, not the alias that we reach it at.
            named = self.auth.token_endpoint or self.metadata().get("token_endpoint")
            return str(named or self.url("token_endpoint", "an assertion"))
        return said

    def token(self, form: Form, needed_for: str, tries: int = _TRIES) -> Answer:
        """A good answer of the token endpoint; see ``post``."""
        return self.post(
            "token_endpoint", form, tries=tries, needed_for=needed_for, holding="access_token"
        )

    def post(
        self,
        name: str,
        form: Form,
        *,
        tries: int = _TRIES,
        needed_for: str = "this",
        empty_ok: bool = False,
        holding: str | None = None,
    ) -> Answer:
        """Send a form with the client's proof to an endpoint; returns a good answer only.

        ``holding`` names a text that a good answer has.

        Retriable failures are tried ``tries`` times in all, each with a fresh assertion. Raises
        TokenRefusedError with the server's error code, AuthenticationError or UnavailableError.
        """
        url = self.url(name, needed_for)
        pause = _FIRST_PAUSE
        for left in range(tries - 1, -1, -1):
            try:
                return self._post_once(url, name, form, empty_ok, holding)
            except (ServerBusyError, ServerUnreachableError, ServerTimeoutError) as error:
                wanted = getattr(error, "retry_after", None)
                wait = pause * random.uniform(0.5, 1.0) if wanted is None else wanted
                if left == 0 or wait > _LONGEST_PAUSE:
                    raise
                time.sleep(wait)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _post_once(
        self, url: str, name: str, form: Form, empty_ok: bool, holding: str | None
    ) -> Answer:
        where = f"the {name.replace('_', ' ')} at {without_query(url)}"
        proof = client_auth(self.auth, self._audience_if_needed())
        with translated(url, f"the {name.replace('_', ' ')}"):
            response = self.session.post(
                url,
                data=form,
                auth=proof,
                headers={"Accept": "application/json"},
                timeout=self._timeouts(),
                allow_redirects=False,
                stream=True,
            )
            answer = read_answer(response, where, empty_ok=empty_ok)
        self.skew = answer.skew
        if answer.status >= 300 or "error" in answer.body:
            raise refusal(answer, where, self.auth, self._secrets(form))
        if holding is not None and not isinstance(answer.body.get(holding), str):
            raise ServerBusyError(
                f"{where} answered without {holding}: try again later, and if it stays so, correct auth.{name}"
            )
        return answer

    def _audience_if_needed(self) -> str:
        signing = self.auth.client_auth in ("client_secret_jwt", "private_key_jwt")
        return self.assertion_audience() if signing else ""

    def _secrets(self, form: Form) -> Iterable[str]:
        """What we sent, or hold, in secret: never repeated, even if the server does."""
        public = {"grant_type", "scope", "client_id", "audience", "resource", "redirect_uri"}
        yield from (value for key, value in form if key not in public and not key.endswith("_type"))
        yield from secrets_in(self.auth)

    def _timeouts(self) -> tuple[float, float]:
        connect, read = timeouts(self.endpoint.timeout)
        return min(connect, _SERVER_TIMEOUT_CAP), min(read, _SERVER_TIMEOUT_CAP)

    def get_json(
        self, url: str, *, missing_ok: bool = False, token: str | None = None
    ) -> Answer | None:
        """A JSON object by GET, with an access token if one is given; None for a 404 that is no harm."""
        where = f"the authorization server at {without_query(url)}"
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        with translated(url, "the authorization server"):
            response = self.session.get(
                url, headers=headers, timeout=self._timeouts(), allow_redirects=False, stream=True
            )
            if missing_ok and response.status_code in (401, 403, 404, 405, 410):
                response.close()
                return None
            answer = read_answer(response, where)
        self.skew = answer.skew
        if answer.status >= 300:
            raise AuthenticationError(f"{where} answered {answer.status}: correct the URL")
        return answer


def _must_be_of(document: Mapping[str, Any], issuer: str) -> None:
    """RFC 8414 §3.3: exactly equal, or the document may be an attacker's."""
    found = document.get("issuer")
    if found != issuer:
        raise AuthenticationError(
            f"the discovery document is of issuer {plain(found) or 'none'!r}, but the connection says "
            f"{issuer!r}; allowed: exactly the same text: correct auth.issuer (a slash at its end counts), "
            "or beware of whoever answers there"
        )
