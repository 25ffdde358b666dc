"""What the server says about itself (OpenID Connect Discovery 1.0, RFC 8414, RFC 8705 section 5)."""

from __future__ import annotations

from typing import Any

from demo.shop.authserver.clients import GRANTS, METHODS, SCOPES, TLS_METHODS
from demo.shop.authserver.provider import Provider

ALGS = ["RS256", "PS256", "ES256", "EdDSA", "HS256"]


def metadata(provider: Provider, *, tls: bool) -> dict[str, Any]:
    """The discovery document; over TLS it names endpoints that demand a client certificate."""
    base = provider.issuer
    methods = [name for name in METHODS if tls or name not in TLS_METHODS]
    document: dict[str, Any] = {
        "issuer": provider.control.issuer_in_discovery or base,
        "authorization_endpoint": f"{base}/authorize",
        "jwks_uri": f"{base}/jwks",
        "userinfo_endpoint": f"{base}/userinfo",
        **_machine_endpoints(base),
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANTS),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [provider.keys.alg],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": ALGS,
        "introspection_endpoint_auth_methods_supported": [m for m in methods if m != "none"],
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "name"],
    }
    if tls:
        document["tls_client_certificate_bound_access_tokens"] = True
        document["mtls_endpoint_aliases"] = _machine_endpoints(f"{base}/mtls")
    return document


def _machine_endpoints(base: str) -> dict[str, str]:
    return {
        "token_endpoint": f"{base}/token",
        "introspection_endpoint": f"{base}/introspect",
        "revocation_endpoint": f"{base}/revoke",
        "device_authorization_endpoint": f"{base}/device_authorization",
    }
