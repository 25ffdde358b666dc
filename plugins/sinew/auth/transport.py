"""HTTP as every part here uses it: TLS by our own context, no netrc, errors translated at one border."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from sinew.auth.models import Timeout, Tls
from sinew.auth.origins import origin, without_query
from sinew.auth.tls import context
from sinew.errors import AuthenticationError, SinewError, TlsError, UnavailableError


class ServerUnreachableError(UnavailableError, requests.ConnectionError):
    """No connection, or a broken one. Also the class of ``requests``, whose callers retry by it."""

    def __init__(self, message: str) -> None:
        requests.ConnectionError.__init__(self, message)


class ServerTimeoutError(UnavailableError, requests.Timeout):
    """No answer in time. Also the class of ``requests``, whose callers retry by it."""

    def __init__(self, message: str) -> None:
        requests.Timeout.__init__(self, message)


class TlsAdapter(HTTPAdapter):
    """Connections with a context of ours, whatever ``verify`` and the environment say."""

    def __init__(self, tls: Tls | None, pool: int = 10) -> None:
        self._tls, self._pool = tls, pool
        self._context = context(tls)
        super().__init__(pool_maxsize=pool)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """As the base class, but with our context and nothing that could weaken it."""
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to set: the context decides."""
        if verify is False:
            raise AuthenticationError(
                f"verify=False would accept any server as {origin(url)}; allowed: True: name a private "
                "CA in tls.ca instead"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"tls": self._tls, "pool": self._pool}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["tls"], state["pool"])  # type: ignore[misc]


def no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request as it is; a session without any auth would look into ~/.netrc."""
    return request


def plain_session(tls: Tls | None) -> requests.Session:
    """A session for the authorization server: TLS by ``tls``, no netrc, no redirects unless asked."""
    session = requests.Session()
    session.auth = no_auth
    session.mount("https://", TlsAdapter(tls))
    return session


def timeouts(timeout: Timeout) -> tuple[float, float]:
    """The pair that requests takes, in seconds."""
    return timeout.connect, timeout.read


@contextmanager
def translated(url: str, what: str) -> Iterator[None]:
    """Turn the errors of requests and TLS into ours; none quotes a URL's query or a header.

    ``what`` names the server, such as "the API".
    """
    where = f"{what} at {without_query(url)}"
    try:
        yield
    except SinewError:
        raise
    except requests.RequestException as error:
        # `from None`: the texts of urllib3 quote the URL with its query.
        raise _ours(error, where) from None


def _ours(error: requests.RequestException, where: str) -> Exception:
    problem = _tls_problem(error)
    if problem is not None:
        return _tls_error(problem, where)
    if isinstance(error, requests.Timeout):
        return ServerTimeoutError(f"{where} did not answer in time: try again later")
    if isinstance(
        error,
        requests.ConnectionError
        | requests.exceptions.ChunkedEncodingError
        | requests.exceptions.ContentDecodingError,
    ):
        reason = _reason(error)
        return ServerUnreachableError(f"{where} cannot be reached ({reason}): try again later")
    if isinstance(error, requests.TooManyRedirects):
        return AuthenticationError(f"{where} redirects in a circle: correct the URL")
    return AuthenticationError(f"{where} cannot be asked ({type(error).__name__}): correct the URL")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that caused it or that it wraps in its arguments."""
    seen: set[int] = set()
    left = [error]
    while left:
        found = left.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        wrapped = (found.__cause__, found.__context__, getattr(found, "reason", None), *found.args)
        left += [item for item in wrapped if isinstance(item, BaseException)]


def _reason(error: BaseException) -> str:
    """What the system said, without any address of ours."""
    for found in _chain(error):
        if isinstance(found, ssl.SSLError):
            return "the TLS connection was cut off, as when a server refuses a client certificate"
        if isinstance(found, OSError) and found.strerror and found.errno:
            return found.strerror.lower()
    return "the connection broke"


def _tls_problem(error: BaseException) -> ssl.SSLError | None:
    """A TLS error that says that a certificate is refused, not that a connection broke."""
    for found in _chain(error):
        if isinstance(found, ssl.SSLCertVerificationError):
            return found
        if isinstance(found, ssl.SSLError) and _ALERTS.search(str(found)):
            return found
    return None


_ALERTS = re.compile(
    r"alert (?:certificate|unknown ca|bad certificate|no certificate|access denied|handshake failure"
    r"|unsupported certificate|protocol version)|WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL",
    re.IGNORECASE,
)
# What the server told us about our certificate, in an alert (RFC 8446 §6.2).
_ALERT_REMEDIES = (
    ("certificate expired", "says that our client certificate has expired: have it renewed"),
    ("unknown ca", "does not know the CA of our client certificate: have it issued by one that the server trusts"),
    ("certificate required", "demands a client certificate: give tls.certificate and tls.key"),
    ("certificate revoked", "says that our client certificate is revoked: have a new one issued"),
    ("certificate unknown", "refuses our client certificate: ask who runs it which certificates it takes"),
    ("protocol version", "speaks no TLS of version 1.2 or later: have it updated"),
    ("unsupported_protocol", "speaks no TLS of version 1.2 or later: have it updated"),
    ("wrong_version_number", "does not speak TLS on this port: correct the port, or the scheme"),
    ("handshake failure", "refuses the handshake; it may want a client certificate: give tls.certificate and tls.key"),
)  # fmt: skip
_EXPIRED, _NOT_YET, _SELF_SIGNED, _SELF_IN_CHAIN, _NO_ISSUER, _NO_LEAF, _NAME = (
    10,
    9,
    18,
    19,
    20,
    21,
    62,
)


def _tls_error(problem: ssl.SSLError, where: str) -> TlsError:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return TlsError(f"the certificate of {where} {_their_fault(problem)}")
    said = str(problem).lower()
    for sign, remedy in _ALERT_REMEDIES:
        if sign in said:
            return TlsError(f"{where} {remedy}")
    return TlsError(
        f"{where} refuses our client certificate: give in tls.certificate and tls.key what it expects"
    )


def _their_fault(problem: ssl.SSLCertVerificationError) -> str:
    code = problem.verify_code
    if code == _EXPIRED:
        return (
            "has expired: whoever runs it must renew it; or this machine's clock is wrong: check it"
        )
    if code == _NOT_YET:
        return "is not valid yet: this machine's clock is behind, or the certificate is for later: check the clock"
    if code in (_SELF_SIGNED, _SELF_IN_CHAIN, _NO_ISSUER, _NO_LEAF):
        return "is signed by an unknown CA; allowed: public ones, or those in tls.ca: put its CA into tls.ca"
    if code == _NAME or "mismatch" in str(problem).lower():
        return "is for another name than this host's: correct the host, or have the certificate issued for it"
    return f"is refused ({problem.verify_message}): have it mended"
