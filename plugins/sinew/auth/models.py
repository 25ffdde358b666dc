"""What the ``auth`` and ``tls`` blocks of a connection say; frozen, and secrets show in no repr."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

Text = Annotated[str, StringConstraints(strict=True, min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
# An RFC 9110 token: what a header or cookie may be called.
Token = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


def _listed(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


def _one(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Words = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one)]
Seconds = Annotated[float, Field(gt=0, lt=math.inf)]


class Setting(BaseModel):
    """Base of all settings: frozen, unknown keys refused, values kept out of validation messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )


class Timeout(Setting):
    """How long to wait, in seconds."""

    connect: Seconds = Field(default=10, description="For a connection.", examples=[10])
    read: Seconds = Field(default=60, description="For the next byte of an answer.", examples=[60])


class Tls(Setting):
    """Client certificate and private CA. Each text is PEM itself or the path of a PEM file."""

    ca: Text | None = Field(
        default=None,
        description="Certificates to trust, instead of the public ones.",
        examples=["/etc/ssl/private-ca.pem"],
    )
    certificate: Text | None = Field(
        default=None,
        description="Our certificate, with its intermediates after it.",
        examples=["/run/secrets/client.pem"],
    )
    key: Secret | None = Field(
        default=None,
        description="The certificate's private key.",
        examples=["/run/secrets/client.key"],
    )
    key_passphrase: Secret | None = Field(
        default=None, description="What the key is encrypted with.", examples=["…"]
    )


class NoAuth(Setting):
    """Requests prove nothing, but for what TLS proves."""

    type: Literal["none"] = "none"


class ApiKey(Setting):
    """A fixed key in a header, in the query or in a cookie."""

    type: Literal["api_key"]
    key: Secret = Field(description="The key.", examples=["…"])
    place: Literal["header", "query", "cookie"] = Field(
        default="header", alias="in", description="Where the key is sent.", examples=["header"]
    )
    name: Token = Field(
        default="X-API-Key", description="The header's, parameter's or cookie's name."
    )
    prefix: str = Field(default="", description="What stands before the key.", examples=["Key "])


class Basic(Setting):
    """User name and password (RFC 7617), encoded as UTF-8."""

    type: Literal["basic"]
    username: Annotated[str, StringConstraints(strict=True, pattern=r"^[^:\x00-\x1f]*$")] = Field(
        description="The user's name; it cannot hold a colon."
    )
    password: SecretStr = Field(description="The password.")


class Bearer(Setting):
    """A fixed bearer token (RFC 6750)."""

    type: Literal["bearer"]
    token: Secret = Field(description="The token.")


class Hmac(Setting):
    """Every request is signed with a shared key.

    Scheme ``rfc9421`` is HTTP Message Signatures with ``hmac-sha256`` and a ``Content-Digest``.
    Scheme ``canonical`` signs ``template`` filled in with method, host, path (with its query),
    timestamp, body digest and key id, and sends the signature in the headers named here.
    """

    type: Literal["hmac"]
    key_id: Text = Field(description="Which key it is, told to the server.")
    secret: Secret = Field(description="The shared key.")
    secret_encoding: Literal["text", "hex", "base64"] = Field(default="text")
    scheme: Literal["canonical", "rfc9421"] = Field(default="canonical")
    template: Text = Field(
        default="{method}\n{path}\n{timestamp}\n{digest}",
        description="The canonical text: {method}, {host}, {path}, {timestamp}, {digest}, {key_id}.",
    )
    algorithm: Literal["sha256", "sha512"] = Field(default="sha256")
    encoding: Literal["hex", "base64"] = Field(default="hex")
    timestamp: Literal["epoch", "epoch_millis", "rfc3339"] = Field(default="epoch")
    signature: Text = Field(
        default="{signature}",
        description="The signature header's value, such as `HMAC {key_id}:{signature}`.",
    )
    signature_header: Token = "X-Signature"
    timestamp_header: Token = "X-Timestamp"
    digest_header: Token | None = "X-Content-SHA256"
    key_id_header: Token | None = "X-Key-Id"
    components: Texts = Field(
        default=("@method", "@authority", "@path", "@query", "content-digest"),
        description="What scheme rfc9421 covers.",
    )


Grant = Literal[
    "client_credentials",
    "refresh_token",
    "authorization_code",
    "device_code",
    "jwt_bearer",
    "token_exchange",
]
ClientAuth = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "HS256", "HS384", "HS512",
]  # fmt: skip


class Assertion(Setting):
    """The JWT that stands for the grant ``jwt_bearer`` (RFC 7523 §2.1 and §3)."""

    issuer: Text | None = Field(default=None, description="`iss`; default: the client's id.")
    subject: Text | None = Field(default=None, description="`sub`; default: the issuer.")
    audience: Text | None = Field(
        default=None, description="`aud`; default: `assertion_audience` of the client."
    )
    claims: dict[str, Any] = Field(default={}, description="Further claims.")
    lifetime: Annotated[int, Field(gt=0, le=3600)] = Field(default=300, description="Seconds.")
    algorithm: Algorithm | None = None
    key_id: Text | None = None
    private_key: Secret | None = Field(default=None, description="Default: the client's key.")
    private_key_passphrase: Secret | None = None


_TYPE = "urn:ietf:params:oauth:token-type:"


class OAuth2(Setting):
    """An access token of an OAuth 2.0 authorization server (RFC 6749, RFC 9700)."""

    type: Literal["oauth2"]
    grant: Grant
    client_auth: ClientAuth = "none"
    client_id: Text | None = None
    client_secret: Secret | None = None
    private_key: Secret | None = Field(
        default=None,
        description="PEM, JWK, or the path of either; for client and grant assertions.",
    )
    private_key_passphrase: Secret | None = None
    key_id: Text | None = Field(default=None, description="`kid` in the header of assertions.")
    algorithm: Algorithm | None = Field(
        default=None, description="Default: what the key is made for."
    )
    assertion_audience: Text | None = Field(
        default=None,
        description="`token_endpoint`, `issuer` or a URL; default: the token endpoint.",
    )
    issuer: Text | None = Field(default=None, description="Where the endpoints are discovered.")
    token_endpoint: Text | None = None
    authorization_endpoint: Text | None = None
    device_authorization_endpoint: Text | None = None
    revocation_endpoint: Text | None = None
    introspection_endpoint: Text | None = None
    userinfo_endpoint: Text | None = None
    jwks_uri: Text | None = None
    scope: Words = ()
    audience: Texts = ()
    resource: Texts = Field(default=(), description="RFC 8707; may repeat.")
    token_params: dict[Text, str] = Field(default={}, description="Added to token requests.")
    authorization_params: dict[Text, str] = Field(
        default={}, description="Added to the URL that the browser opens."
    )
    refresh_token: Secret | None = Field(
        default=None, description="The first one, for the grant refresh_token."
    )
    redirect_uri: Text | None = Field(
        default=None,
        description="On a loopback address; default: 127.0.0.1, a free port, /callback.",
    )
    assertion: Assertion = Assertion()
    subject_token: Secret | None = Field(
        default=None,
        description="For token_exchange: the token, or the path of a file that holds it.",
    )
    subject_token_type: Text = _TYPE + "access_token"
    actor_token: Secret | None = None
    actor_token_type: Text = _TYPE + "access_token"
    requested_token_type: Text | None = None
    leeway: Annotated[float, Field(ge=0, lt=math.inf)] | None = Field(
        default=None,
        description="Seconds before expiry to renew; default: 60, at most a tenth of the life.",
    )
    clock_leeway: Annotated[int, Field(ge=0, le=600)] = Field(
        default=60, description="Seconds that a time in a token may be off."
    )
    tls: Tls | None = Field(
        default=None, description="For the authorization server; default: that of the API."
    )


Auth = Annotated[
    NoAuth | ApiKey | Basic | Bearer | Hmac | OAuth2,
    Field(discriminator="type"),
]
TYPES: dict[str, type[Setting]] = {
    "none": NoAuth,
    "api_key": ApiKey,
    "basic": Basic,
    "bearer": Bearer,
    "hmac": Hmac,
    "oauth2": OAuth2,
}


class Extra(Setting):
    """The whole extra of a connection."""

    auth: Auth = NoAuth()
    tls: Tls | None = None
    headers: dict[Token, SecretStr] = Field(default={}, description="Sent to the API only.")
    timeout: Timeout = Timeout()
    insecure_http: bool = Field(
        default=False, strict=True, description="Allow http:// beyond this machine."
    )
