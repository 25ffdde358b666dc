"""Questions to the authorization server about a token: introspection, revocation, userinfo."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from sinew.auth.received import wrong_binding
from sinew.auth.server import AuthorizationServer
from sinew.errors import TokenInvalidError


def introspect(
    server: AuthorizationServer,
    token: str,
    *,
    hint: str = "access_token",
    thumbprint: str | None = None,
) -> Mapping[str, Any]:
    """What the server says about a token (RFC 7662). Raises TokenInvalidError when it is not active.

    With ``thumbprint``, a token that is bound to another certificate is refused too (RFC 8705 §3.2).
    """
    answer = server.post(
        "introspection_endpoint",
        [("token", token), ("token_type_hint", hint)],
        needed_for="introspection",
    )
    if answer.body.get("active") is not True:
        raise TokenInvalidError(
            "the authorization server says that the token is not active: it is expired, revoked, or not "
            "one of its own: get a new one",
            "active",
        )
    if thumbprint is not None and (error := wrong_binding(answer.body, thumbprint)) is not None:
        raise error
    return answer.body


def revoke(server: AuthorizationServer, token: str, hint: str) -> bool:
    """Have a token revoked (RFC 7009); False when the server offers no such endpoint."""
    if server.optional_url("revocation_endpoint") is None:
        return False
    form = [("token", token), ("token_type_hint", hint)]
    server.post("revocation_endpoint", form, empty_ok=True)
    return True


def userinfo(server: AuthorizationServer, access_token: str, subject: str) -> Mapping[str, Any]:
    """Claims about the person (OpenID Connect Core §5.3); refused unless they are about ``subject``."""
    answer = server.get_json(server.url("userinfo_endpoint", "userinfo"), token=access_token)
    assert answer is not None
    found = answer.body.get("sub")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), subject.encode()):
        raise TokenInvalidError(
            "userinfo is about another person than the ID token: do not use it, and log in again",
            "sub",
        )
    return answer.body
