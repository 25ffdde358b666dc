"""The authorization server's error codes in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterable

from sinew.auth.answers import Answer, clock_words, plain
from sinew.auth.models import OAuth2
from sinew.errors import ServerBusyError, SinewError, TokenRefusedError

# RFC 6749 §5.2, RFC 8628 §3.5, RFC 8707 §2, RFC 7009 §2.2.1.
_REMEDIES = {
    "unauthorized_client": "have this client allowed to use the grant at the authorization server",
    "unsupported_grant_type": "the server does not do this grant: change auth.grant",
    "invalid_scope": "correct auth.scope; allowed: what the server lets this client ask for",
    "invalid_target": "correct auth.resource or auth.audience",
    "invalid_request": "the server misses or refuses a parameter: compare auth.token_params, "
    "auth.audience and auth.resource with its documentation",
    "access_denied": "the person or the server said no: ask for the right, and log in again",
    "expired_token": "the code was not confirmed in time: start the login again",
    "unsupported_token_type": "the server cannot revoke this kind of token",
}
# RFC 6749 §4.1.2.1 names these where a later answer may be better.
_WAITING_HELPS = frozenset(["temporarily_unavailable", "server_error"])
_KNOWN = (
    _REMEDIES.keys()
    | _WAITING_HELPS
    | {
        "invalid_client",
        "invalid_grant",
        "authorization_pending",
        "slow_down",
    }
)
_ASSERTING = ("client_secret_jwt", "private_key_jwt")


def refusal(answer: Answer, where: str, auth: OAuth2, secrets: Iterable[str]) -> SinewError:
    """The error to raise for an answer that names an error code."""
    hidden = list(secrets)
    code = plain(answer.body.get("error"), 60)
    if code not in _KNOWN:
        code = plain(code, 60, hidden) or "no error code"
    said = plain(answer.body.get("error_description"), secrets=hidden)
    quoted = f" ({said})" if said else ""
    if code in _WAITING_HELPS:
        return ServerBusyError(f"{where} answered {code}{quoted}: try again later")
    message = f"{where} answered {code}{quoted}: {_remedy(code, auth)}"
    if _signed_by_time(code, auth):
        message += clock_words(answer.skew)
    return TokenRefusedError(message, code, answer.status)


def _remedy(code: str, auth: OAuth2) -> str:
    if code == "invalid_client":
        return f"it does not take client {auth.client_id!r} by {auth.client_auth}: {_client_remedy(auth)}"
    if code == "invalid_grant":
        return _grant_remedy(auth)
    return _REMEDIES.get(code, "ask who runs the server what it means")


def _client_remedy(auth: OAuth2) -> str:
    if auth.client_auth.startswith("client_secret"):
        return "correct client_id (login) and client_secret (password) of the connection, or auth.client_auth"
    if auth.client_auth == "private_key_jwt":
        return (
            "register the public key of auth.private_key there (auth.key_id must name it), and see "
            "whether it expects auth.assertion_audience to be its issuer or its token endpoint"
        )
    if "tls" in auth.client_auth:
        return "register the subject or thumbprint of tls.certificate there"
    return "correct client_id (login), or give auth.client_auth and its secret"


def _grant_remedy(auth: OAuth2) -> str:
    if auth.grant == "jwt_bearer":
        return (
            "it does not take the assertion: correct auth.assertion (issuer, subject, audience) and "
            "register its public key there"
        )
    if auth.grant == "token_exchange":
        return "it does not take the subject token: get a new auth.subject_token"
    return "the code or refresh token is used up, revoked or expired"


def _signed_by_time(code: str, auth: OAuth2) -> bool:
    if code == "invalid_client":
        return auth.client_auth in _ASSERTING
    return code == "invalid_grant" and auth.grant == "jwt_bearer"
