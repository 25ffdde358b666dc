"""The whole shop: an authorization server, the shop's API, and a marketing API over mutual TLS."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi import Request

from demo.legacy.build import SEED
from demo.legacy.frames import all_frames
from demo.legacy.wheel import read_real
from demo.shop.api.legacy_data import fill_from_legacy
from demo.shop.api.server import ShopServer
from demo.shop.api.store import Store
from demo.shop.api.verify import Unauthorized, Verifier, in_thread
from demo.shop.authserver.server import AuthServer
from demo.shop.serve import HOST, TlsSettings, peer_certificate
from demo.shop.tls import Certificates, make_certificates
from sinew.auth.checks import validate_access_token
from sinew.auth.jwks import KeySource
from sinew.errors import TokenInvalidError

SHOP, MARKETING = "urn:demo:shop", "urn:demo:marketing"
# Of the retail data, for one shop: some 50 customers with 3,000 orders.
_SHARE = 0.02


@dataclass(frozen=True)
class Ports:
    """Where the servers listen; 0 takes a free port."""

    authorization: int = 0
    shop: int = 0
    marketing: int = 0


@contextmanager
def serving(folder: Path, ports: Ports = Ports(), host: str = HOST) -> Iterator[dict[str, Any]]:
    """Run all three; yields the Airflow connections that lead to them, secrets included, and their ports.

    ``host`` is where they listen and what they are called. The shop speaks TLS too unless that is this
    machine alone: a token goes nowhere else without it.
    """
    certificates = make_certificates(folder / "tls", *(() if host == HOST else (host,)))
    server = certificates.server
    tls = None if host == HOST else TlsSettings(server.certificate, server.key)
    with ExitStack() as stack:
        authorization = stack.enter_context(
            AuthServer(tls=certificates, host=host, port=ports.authorization)
        )
        shop = ShopServer(
            stack.enter_context(_orders(folder / "shop.sqlite")),
            verify=_bearer(authorization, SHOP, "orders:read"),
            host=host,
            port=ports.shop,
            tls=tls,
        )
        marketing = ShopServer(
            stack.enter_context(Store(folder / "marketing.sqlite")),
            verify=_bearer(authorization, MARKETING, "contacts:write"),
            host=host,
            port=ports.marketing,
            tls=TlsSettings(
                server.certificate, server.key, client_ca=certificates.authority, demand=True
            ),
        )
        stack.enter_context(shop)
        stack.enter_context(marketing)
        yield {
            "connections": {
                "shop_api": _shop_connection(authorization, certificates, shop.url),
                "marketing_api": _marketing_connection(authorization, certificates, marketing.url),
            },
            "ports": {
                "authorization": _port(authorization.issuer),
                "shop": _port(shop.url),
                "marketing": _port(marketing.url),
            },
        }


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _orders(path: Path) -> Store:
    store = Store(path)
    if store.value("SELECT count(*) FROM orders") == 0:
        tables = {}
        for name, frame in all_frames(read_real(_SHARE, SEED), SEED):
            if name in ("CUST_MASTER", "PROD_MASTER", "TXN_HDR", "TXN_LINE"):
                tables[name] = frame.astype(object).where(frame.notna(), None)
        fill_from_legacy(
            store,
            customers=tables["CUST_MASTER"].to_dict("records"),
            products=tables["PROD_MASTER"].to_dict("records"),
            headers=tables["TXN_HDR"].sort_values("BASKET_ID").to_dict("records"),
            lines=tables["TXN_LINE"].sort_values("BASKET_ID").to_dict("records"),
        )
    return store


def _bearer(authorization: AuthServer, audience: str, scope: str) -> Verifier:
    """Take access tokens of the authorization server, by its keys as they are now."""
    keys = KeySource(authorization.public_jwks)

    def verify(request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(None, "a bearer token is needed")
        try:
            proven = validate_access_token(
                token,
                keys=keys,
                issuer=authorization.issuer,
                audience=audience,
                scopes=(scope,),
                thumbprint=_thumbprint(request),
            )
        except TokenInvalidError as error:
            raise Unauthorized("invalid_token", f"the token's {error.claim} is refused") from None
        return str(proven.claims["client_id"])

    return in_thread(verify)


def _thumbprint(request: Request) -> str | None:
    """That of the client's certificate, if it showed one (RFC 8705, section 3.1)."""
    import hashlib
    from base64 import urlsafe_b64encode

    shown = peer_certificate(request.scope)
    if shown is None:
        return None
    return urlsafe_b64encode(hashlib.sha256(shown).digest()).rstrip(b"=").decode()


def _shop_connection(
    authorization: AuthServer, certificates: Certificates, url: str
) -> dict[str, Any]:
    client = authorization.clients["client_secret_basic"]
    return _connection(
        url,
        {
            "type": "oauth2",
            "grant": "client_credentials",
            "client_auth": "client_secret_basic",
            "issuer": authorization.issuer,
            "client_id": client.client_id,
            "client_secret": client.secret,
            "scope": "orders:read",
            "resource": SHOP,
        },
        {"ca": str(certificates.authority)},
    )


def _marketing_connection(
    authorization: AuthServer, certificates: Certificates, url: str
) -> dict[str, Any]:
    """Its token is bound to the certificate that the API demands as well."""
    client = authorization.clients.add(
        replace(
            authorization.clients["private_key_jwt"],
            name="marketing",
            client_id=f"marketing-{secrets.token_hex(4)}",
            certificate_bound=True,
        )
    )
    leaf = certificates.client_with_passphrase
    tls = {
        "ca": str(certificates.authority),
        "certificate": str(leaf.certificate),
        "key": str(leaf.key),
        "key_passphrase": leaf.passphrase,
    }
    auth = {
        "type": "oauth2",
        "grant": "client_credentials",
        "client_auth": "private_key_jwt",
        "issuer": authorization.issuer,
        "client_id": client.client_id,
        "private_key": client.private_pem,
        "key_id": client.kid,
        "algorithm": client.alg,
        "scope": "contacts:read contacts:write",
        "resource": MARKETING,
    }
    return _connection(url, auth, tls)


def _connection(url: str, auth: dict[str, Any], tls: dict[str, Any]) -> dict[str, Any]:
    return {"conn_type": "sinew_http", "host": url, "extra": {"auth": auth, "tls": tls}}
