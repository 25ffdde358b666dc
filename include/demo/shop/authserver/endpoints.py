"""Introspection (RFC 7662), revocation (RFC 7009) and the start of the device flow (RFC 8628)."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749 import InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint

from demo.shop.authserver.clients import CONFIDENTIAL_METHODS, DEVICE_CODE, METHODS, Client
from demo.shop.authserver.requests import ServerRequest
from demo.shop.authserver.store import AccessToken, DeviceRequest, Family
from demo.shop.authserver.tokens import claims_of, wanted_audience

Found = AccessToken | Family | None


def find(store: Any, text: str) -> Found:
    """The token of a text: an access token, or the family of a refresh token."""
    return store.access(text) or store.refresh(text)


class Introspection(IntrospectionEndpoint):
    """What a token is, to its own client and to resource servers; not to public clients."""

    CLIENT_AUTH_METHODS = list(CONFIDENTIAL_METHODS)

    def query_token(self, token_string: str, token_type_hint: str | None) -> Found:
        found = find(self.server.store, token_string)
        # Of a family only its newest token is active.
        is_old = isinstance(found, Family) and token_string != found.current
        return None if is_old else found

    def check_permission(self, token: Found, client: Client, request: ServerRequest) -> bool:
        return client.introspects or token.check_client(client)

    def introspect_token(self, token: AccessToken | Family) -> dict[str, Any]:
        return self.server.described(token)


class Revocation(RevocationEndpoint):
    """Ends an access token, or a refresh token with all that came from its consent."""

    CLIENT_AUTH_METHODS = list(METHODS)

    def query_token(self, token_string: str, token_type_hint: str | None) -> Found:
        return find(self.server.store, token_string)

    def revoke_token(self, token: AccessToken | Family, request: ServerRequest) -> None:
        if isinstance(token, Family):
            self.server.store.revoke(token)
        else:
            token.revoked = True


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    """Gives a device its codes."""

    CLIENT_AUTH_METHODS = list(METHODS)

    def create_endpoint_response(self, request: ServerRequest) -> Any:
        settings = self.server.settings
        self.EXPIRES_IN, self.INTERVAL = settings.device_lifetime, settings.device_interval
        self._request = request
        return super().create_endpoint_response(request)

    def authenticate_client(self, request: ServerRequest) -> Client:
        client = super().authenticate_client(request)
        if not client.check_grant_type(DEVICE_CODE):
            raise UnauthorizedClientError()
        return client

    def get_verification_uri(self) -> str:
        return f"{self.server.issuer}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        request, server = self._request, self.server
        allowed = request.client.get_allowed_scope(scope)
        if allowed is None:
            raise InvalidScopeError()
        audience = wanted_audience(request, server.settings.resources)
        device = DeviceRequest(
            client_id=client_id,
            scope=allowed,
            audience=audience or [request.client.audience],
            user_code=data["user_code"],
            interval=data["interval"],
            expires_at=server.clock.now() + data["expires_in"],
            clock=server.clock,
        )
        server.store.add_device(data["device_code"], device)


def introspected(token: AccessToken | Family, issuer: str) -> dict[str, Any]:
    """RFC 7662 section 2.2, and ``cnf`` for bound tokens (RFC 8705 section 3.2)."""
    if isinstance(token, Family):
        claims: dict[str, Any] = {
            "client_id": token.client_id,
            "sub": token.user.sub,
            "scope": token.scope,
        }
    else:
        claims = {"token_type": "Bearer", **claims_of(token)}
    user = token.get_user()
    return {"iss": issuer, **({"username": user.sub} if user else {}), **claims}
