"""The authorization server itself: Authlib's framework, this server's grants, clients, memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError
from joserfc.jwk import Key, KeySet

from demo.shop.authserver import grants
from demo.shop.authserver.client_auth import (
    Assertion,
    TlsAuthentication,
    authenticate_basic,
    presented_method,
    refused,
)
from demo.shop.authserver.clients import ASSERTION_METHODS, SCOPES, Client, Registry
from demo.shop.authserver.clock import Clock
from demo.shop.authserver.control import Control
from demo.shop.authserver.endpoints import (
    DeviceAuthorization,
    Introspection,
    Revocation,
    introspected,
)
from demo.shop.authserver.keys import SigningKeys, generate_key
from demo.shop.authserver.requests import Answer, ServerRequest
from demo.shop.authserver.store import AccessToken, Family, Store
from demo.shop.authserver.tokens import TokenMaker
from demo.shop.tls import Certificates

# At level DEBUG these write every token that they issue.
for _name in ("rfc6749.grants", "rfc7523.jwt_bearer", "rfc8628.device_code"):
    logging.getLogger(f"authlib.oauth2.{_name}").setLevel(logging.INFO)


@dataclass
class Settings:
    """How the server behaves; times in seconds.

    ``refresh_overlap`` is how long a refresh token that was just replaced is taken once more.
    ``resources`` are the values of ``resource`` and ``audience`` that tokens are given for.
    """

    lifetime: int = 300
    refresh_overlap: float = 0.0
    code_lifetime: float = 60.0
    device_lifetime: int = 600
    device_interval: int = 5
    signing_alg: str = "RS256"
    resources: set[str] = field(default_factory=lambda: {"urn:demo:shop", "urn:demo:marketing"})


@dataclass(frozen=True)
class AssertionIssuer:
    """Somebody whose signed word about a user the server takes (RFC 7523 section 2.1)."""

    issuer: str
    alg: str
    key: Key = field(repr=False)

    @property
    def private_pem(self) -> str:
        """Its private key as PKCS #8 PEM, for the test or the demo that plays the issuer."""
        return self.key.as_pem(private=True).decode()

    def public_keys(self) -> KeySet:
        """What its assertions are verified with."""
        return KeySet.import_key_set({"keys": [self.key.as_dict(private=False)]})


class Provider(AuthorizationServer):
    """All that the endpoints do, without HTTP: a ``ServerRequest`` in, an ``Answer`` out.

    The caller holds ``store.lock`` during each call.
    """

    def __init__(
        self, issuer: str, settings: Settings, clients: Registry, certificates: Certificates | None
    ) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.issuer = issuer
        self.settings = settings
        self.clients = clients
        self.clock = Clock()
        self.keys = SigningKeys(settings.signing_alg, self.clock)
        self.store = Store(self.clock)
        self.control = Control(self.clock, self.keys, self.store)
        self.tokens = TokenMaker(self)
        trusted = AssertionIssuer("https://idp.shop.example", "ES256", generate_key("ES256"))
        self.issuers: Mapping[str, AssertionIssuer] = {trusted.issuer: trusted}
        self._register(certificates)

    def _register(self, certificates: Certificates | None) -> None:
        self.register_grant(grants.ClientCredentials)
        self.register_grant(grants.Code, [grants.Pkce(), grants.OpenId(self.store)])
        for grant in (grants.Refresh, grants.Device, grants.Assertion, grants.TokenExchange):
            self.register_grant(grant)
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)
        self.register_endpoint(DeviceAuthorization)
        self.register_client_auth_method("client_secret_basic", authenticate_basic)
        for method in ASSERTION_METHODS:
            self.register_client_auth_method(method, Assertion(self, method))
        if certificates:
            tls = TlsAuthentication(certificates.authority_x509)
            self.register_client_auth_method("tls_client_auth", tls.by_authority)
            self.register_client_auth_method("self_signed_tls_client_auth", tls.self_signed)

    def own_audiences(self) -> list[str]:
        """What an assertion for this server may name as its audience (RFC 7523 section 3)."""
        return [self.issuer, f"{self.issuer}/token", f"{self.issuer}/mtls/token"]

    def described(self, token: AccessToken | Family) -> dict[str, Any]:
        """What introspection says of a token, apart from ``active``."""
        return introspected(token, self.issuer)

    # The endpoints

    def token(self, request: ServerRequest) -> Answer:
        """The token endpoint; every answer is counted."""
        answer = self._safely(request, self.create_token_response)
        self.count(request, answer.outcome)
        return answer

    def endpoint(self, name: str, request: ServerRequest) -> Answer:
        """Introspection, revocation or device_authorization."""
        return self._safely(request, lambda one: self.create_endpoint_response(name, one))

    def consent(self, request: ServerRequest, user: Any) -> Any:
        """A checked authorization request; OAuth2Error, with where to redirect to if one may."""
        request.refuse_repeated()
        try:
            return self.get_consent_grant(request, end_user=user)
        except ValueError:
            # Authlib puts what was sent into its text, which refuses some characters.
            raise InvalidRequestError(description="A parameter has a wrong value.") from None

    def decision(self, request: ServerRequest, user: Any, grant: Any) -> Answer:
        """The redirect with a code, or with access_denied if the user is None."""
        return self.with_issuer(
            self.create_authorization_response(request, grant_user=user, grant=grant)
        )

    def authorization_error(self, request: ServerRequest, error: OAuth2Error) -> Answer:
        """The redirect that tells the client, or an answer that tells the person."""
        return self.with_issuer(self.handle_error_response(request, error))

    def with_issuer(self, answer: Answer) -> Answer:
        """RFC 9207: every redirect names who it comes from, so that answers cannot be mixed up."""
        if location := answer.headers.get("Location"):
            answer.headers["Location"] = add_params_to_uri(location, {"iss": self.issuer})
        return answer

    def count(self, request: ServerRequest, outcome: str) -> None:
        """Note a token request; ``outcome`` is "ok", an error, or the fault that it met."""
        client = request.client
        if client is None:
            try:
                client = self.query_client(presented_method(request, self.query_client)[1] or "")
            except OAuth2Error:
                client = None
        grant = request.payload.grant_type or "none"
        self.control.count_token_request(client.name if client else "unknown", grant, outcome)

    def _safely(self, request: ServerRequest, respond: Any) -> Answer:
        try:
            request.refuse_repeated()
            return respond(request)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        except ValueError:
            wrong = InvalidRequestError(description="A parameter has a wrong value.")
            return self.handle_error_response(request, wrong)

    # What Authlib asks of a server

    def query_client(self, client_id: str) -> Client | None:
        return self.clients.by_id(client_id)

    def authenticate_client(
        self, request: ServerRequest, methods: list[str], endpoint: str = "token"
    ) -> Client:
        """The client, by the one method that the request uses and that is registered for it."""
        method, client_id = presented_method(request, self.query_client)
        said = request.form.get("client_id")
        if said and client_id and said != client_id:
            raise InvalidRequestError(description="client_id is not the client that authenticated.")
        if client_id is None or self.query_client(client_id) is None:
            raise refused("The client is unknown.")
        if method not in methods:
            raise refused("This client may not do that.")
        try:
            client = super().authenticate_client(request, [method], endpoint)
        except OAuth2Error as error:
            if error.error == "invalid_client":
                error.status_code = 401
            raise
        request.client = client
        return client

    def create_oauth2_request(self, request: ServerRequest) -> ServerRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        return Answer(status, dict(body) if isinstance(body, list) else body, dict(headers))

    def send_signal(self, name: str, *args: Any, **options: Any) -> None:
        """Nobody listens."""
