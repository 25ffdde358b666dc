"""The ways to a token: Authlib's grants with this server's memory, and token exchange.

Authlib 1.9 has the code flow with PKCE, refreshing, client credentials, device codes and JWT
assertions; RFC 8693 is only a placeholder there, so ``TokenExchange`` is written on its base class.
"""

from __future__ import annotations

from typing import Any

from authlib.oauth2 import rfc6749, rfc7523, rfc7636, rfc8628
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, UnauthorizedClientError
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from authlib.oidc.core import OpenIDCode
from joserfc.errors import JoseError

from demo.shop.authserver.client_auth import LEEWAY, check_jwt_claims
from demo.shop.authserver.clients import CONFIDENTIAL_METHODS, METHODS, TOKEN_EXCHANGE, Client
from demo.shop.authserver.keys import verify
from demo.shop.authserver.requests import ServerRequest
from demo.shop.authserver.store import USERS, AuthorizationCode, DeviceRequest, Family, User
from demo.shop.authserver.tokens import Origin, narrowed, wanted_audience

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"
JWT_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"


class OwnTokens(rfc6749.BaseGrant):
    """Lets this server's token maker make the tokens, in place of Authlib's generators."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)
    request: ServerRequest

    def origin(self, user: User | None, scope: str | None) -> Origin:
        """Where the token of this request comes from."""
        audience = wanted_audience(self.request, self.server.settings.resources)
        return Origin(user, scope, audience)

    def generate_token(
        self,
        user: User | None = None,
        scope: str | None = None,
        grant_type: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        self.request.user = user
        origin = self.origin(user, scope)
        body = self.server.tokens.answer(self.request, origin)
        if origin.family and include_refresh_token:
            body["refresh_token"] = origin.family.current
        if origin.auth_time is not None and "openid" in body["scope"].split():
            nonce = self.nonce()
            body["id_token"] = self.server.tokens.id_token(
                self.request, body, auth_time=origin.auth_time, nonce=nonce
            )
        return body

    def nonce(self) -> str | None:
        """What the ID token repeats of the authorization request."""
        return None

    def save_token(self, token: dict[str, Any]) -> None:
        """Nothing: the token maker stored it."""


class ClientCredentials(OwnTokens, ClientCredentialsGrant):
    """RFC 6749 section 4.4."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(CONFIDENTIAL_METHODS)


class Code(OwnTokens, AuthorizationCodeGrant):
    """RFC 6749 section 4.1."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)

    def save_authorization_code(self, code: str, request: ServerRequest) -> None:
        now = self.server.clock.now()
        data = request.payload.data
        client: Client = request.client
        stored = AuthorizationCode(
            client_id=client.client_id,
            user=request.user,
            scope=request.scope,
            redirect_uri=data.get("redirect_uri"),
            code_challenge=data["code_challenge"],
            code_challenge_method=data["code_challenge_method"],
            audience=wanted_audience(request, self.server.settings.resources) or [client.audience],
            nonce=data.get("nonce"),
            auth_time=int(now),
            expires_at=now + self.server.settings.code_lifetime,
        )
        if stored.nonce is not None:
            self.server.store.first_sight(f"nonce {client.client_id}", stored.nonce, now + 3600)
        self.server.store.add_code(code, stored)

    def query_authorization_code(self, code: str, client: Client) -> AuthorizationCode | None:
        return self.server.store.take_code(code, client.client_id)

    def delete_authorization_code(self, authorization_code: AuthorizationCode) -> None:
        """Nothing: it was used up when it was presented, and is kept to notice a second use."""

    def authenticate_user(self, authorization_code: AuthorizationCode) -> User:
        return authorization_code.user

    def origin(self, user: User | None, scope: str | None) -> Origin:
        code: AuthorizationCode = self.request.authorization_code
        audience = narrowed(self.request, self.server.settings.resources, code.audience)
        client: Client = self.request.client
        family = None
        if client.check_grant_type(RefreshTokenGrant.GRANT_TYPE):
            family = self.server.tokens.new_family(
                client, code.user, code.scope, code.audience, auth_time=code.auth_time
            )
        return Origin(user, scope, audience, family=family, auth_time=code.auth_time)

    def nonce(self) -> str | None:
        return self.request.authorization_code.nonce

    def generate_token(self, *args: Any, **options: Any) -> dict[str, Any]:
        body = super().generate_token(*args, **options)
        token = self.server.store.access(body["access_token"])
        self.request.authorization_code.issued.append(token)
        return body


class Pkce(rfc7636.CodeChallenge):
    """PKCE for every client, S256 only (RFC 9700 section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]

    def validate_code_challenge(self, grant: Code, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError(
                description="PKCE is required: code_challenge with code_challenge_method=S256."
            )
        super().validate_code_challenge(grant, redirect_uri)


class OpenId(OpenIDCode):
    """Checks of the nonce and of ``prompt``; the ID token itself is the token maker's."""

    def exists_nonce(self, nonce: str, request: ServerRequest) -> bool:
        return self.store.seen(f"nonce {request.payload.client_id}", nonce)

    def __init__(self, store: Any) -> None:
        super().__init__(require_nonce=False)
        self.store = store

    def process_token(self, grant: Code, response: Any) -> None:
        """Nothing: the token has its ID token already."""


class Refresh(OwnTokens, RefreshTokenGrant):
    """RFC 6749 section 6, with rotation and reuse detection (RFC 9700 section 4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Family | None:
        store, family = self.server.store, self.server.store.refresh(refresh_token)
        # Somebody else's request must not end the family of the client that it belongs to.
        if family is None or not family.check_client(self.request.client):
            return None
        self._again = False
        if family.revoked:
            raise InvalidGrantError(description="The refresh token was revoked.")
        if refresh_token == family.current:
            return family
        if self._in_overlap(family, refresh_token):
            family.second_chances += 1
            self._again = True
            return family
        store.revoke(family, reuse=True)
        raise InvalidGrantError(
            description="The refresh token was used before: all tokens of its family are revoked."
        )

    def _in_overlap(self, family: Family, refresh_token: str) -> bool:
        """True once, for the token just replaced, soon enough: its answer may have been lost."""
        age = self.server.clock.now() - family.replaced_at
        return (
            refresh_token == family.former
            and family.second_chances == 0
            and age <= self.server.settings.refresh_overlap
        )

    def authenticate_user(self, refresh_token: Family) -> User:
        return refresh_token.user

    def origin(self, user: User | None, scope: str | None) -> Origin:
        family: Family = self.request.refresh_token
        audience = narrowed(self.request, self.server.settings.resources, family.audience)
        if not self._again:
            # The second time, the successor is given once more: there is still one newest token.
            self.server.store.rotate(family)
            family.second_chances = 0
        return Origin(user, scope, audience, family=family, auth_time=family.auth_time)

    def revoke_old_credential(self, refresh_token: Family) -> None:
        """Nothing: the old token went when the new one was made."""


class Device(OwnTokens, rfc8628.DeviceCodeGrant):
    """RFC 8628 section 3.4."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)

    def query_device_credential(self, device_code: str) -> DeviceRequest:
        found = self.server.store.device(device_code)
        if found is None:
            raise InvalidGrantError(description="The device code is unknown or was used.")
        return found

    def query_user_grant(self, user_code: str) -> tuple[User, bool] | None:
        device = self.query_device_credential(self.request.form["device_code"])
        return None if device.approved is None else (device.user, device.approved)

    def should_slow_down(self, credential: DeviceRequest) -> bool:
        """True if the device asked sooner than it was told; it must wait 5 s more from now on."""
        now, before = self.server.clock.now(), credential.polled_at
        credential.polled_at = now
        if before is None or now - before >= credential.interval:
            return False
        credential.interval += 5
        return True

    def origin(self, user: User | None, scope: str | None) -> Origin:
        device: DeviceRequest = self.request.credential
        auth_time = int(self.server.clock.now())
        audience = narrowed(self.request, self.server.settings.resources, device.audience)
        client: Client = self.request.client
        family = None
        if client.check_grant_type(RefreshTokenGrant.GRANT_TYPE):
            family = self.server.tokens.new_family(
                client, device.user, device.scope, device.audience, auth_time=auth_time
            )
        self.server.store.forget_device(device)
        return Origin(user, scope, audience, family=family, auth_time=auth_time)


class Assertion(OwnTokens, rfc7523.JWTBearerGrant):
    """RFC 7523 section 2.1: an issuer that the server knows vouches for a user.

    The client authenticates besides, by its own method; Authlib takes the issuer for the client.
    """

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)

    def validate_token_request(self) -> None:
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError()
        assertion = self.request.form.get("assertion")
        if not assertion:
            raise InvalidRequestError(description="Missing 'assertion' in request.")
        self.request.client = client
        self.validate_requested_scope()
        claims = self.process_assertion_claims(assertion)
        user = USERS.get(claims["sub"])
        if user is None:
            raise InvalidGrantError(description="Assertion: sub is not a user of this server.")
        self.request.user = user

    def process_assertion_claims(self, assertion: str) -> dict[str, Any]:
        _, unverified = self.extract_assertion(assertion)
        issuer = self.server.issuers.get(str(unverified.get("iss")))
        if issuer is None:
            raise InvalidGrantError(description="Assertion: the issuer is not registered.")
        now = self.server.clock.now()
        try:
            claims = verify(assertion, issuer.public_keys(), issuer.alg)
            check_jwt_claims(claims, self.server.own_audiences(), now)
        except (JoseError, ValueError) as error:
            text = getattr(error, "description", "cannot be read")
            raise InvalidGrantError(description=f"Assertion: {text}") from None
        owner = f"assertion {claims['iss']}"
        jti = claims.get("jti")
        if jti and not self.server.store.first_sight(owner, str(jti), claims["exp"] + LEEWAY):
            raise InvalidGrantError(description="Assertion: this jti was used before.")
        return claims


class TokenExchange(OwnTokens, rfc6749.TokenEndpointMixin):
    """RFC 8693: a token for one place becomes a token for another, never for more.

    The subject token, and the actor token if there is one, is an access token of this server.
    """

    GRANT_TYPE = TOKEN_EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)

    def validate_token_request(self) -> None:
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError()
        self.request.client = client
        self.validate_requested_scope()
        form = self.request.form
        wanted = form.get("requested_token_type", ACCESS_TOKEN_TYPE)
        if wanted not in (ACCESS_TOKEN_TYPE, JWT_TOKEN_TYPE):
            raise InvalidRequestError(description="This requested_token_type is not offered.")
        self._subject = self._token("subject")
        has_actor = "actor_token" in form or "actor_token_type" in form
        self._actor = self._token("actor") if has_actor else None

    def _token(self, role: str) -> Any:
        form = self.request.form
        if form.get(f"{role}_token_type") not in (ACCESS_TOKEN_TYPE, JWT_TOKEN_TYPE):
            raise InvalidRequestError(
                description=f"{role}_token_type is missing or not one of access_token and jwt."
            )
        token = self.server.store.access(form.get(f"{role}_token", ""))
        if token is None or not token.active:
            raise InvalidRequestError(description=f"The {role}_token is unknown or not valid.")
        return token

    def origin(self, user: User | None, scope: str | None) -> Origin:
        subject, actor = self._subject, self._actor
        act = None
        if actor:
            act = {"sub": actor.sub} | ({"act": subject.act} if subject.act else {})
        audience = wanted_audience(self.request, self.server.settings.resources)
        return Origin(
            subject.user,
            scope,
            audience or subject.audience,
            sub=subject.sub,
            act=act,
            not_after=subject.expires_at,
        )

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        subject = self._subject
        scope = self.request.payload.scope or subject.scope
        if not set(scope.split()) <= set(subject.scope.split()):
            raise rfc6749.InvalidScopeError()
        body = self.generate_token(user=subject.user, scope=scope)
        body["issued_token_type"] = ACCESS_TOKEN_TYPE
        return 200, body, self.TOKEN_RESPONSE_HEADER
