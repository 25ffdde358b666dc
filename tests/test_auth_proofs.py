"""Proofs of tokens: ID tokens, access tokens at a resource server, and keys that rotate."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from demo.shop.authserver import AuthServer
from sinew.auth.asking import introspect, userinfo
from sinew.auth.checks import check_id_token, keys_of, validate_access_token, validate_id_token
from sinew.auth.jwks import KeySource
from sinew.auth.life import TokenSource
from sinew.auth.login import login
from sinew.auth.server import AuthorizationServer
from sinew.auth.store import MemoryTokenStore
from sinew.errors import SinewError, TokenInvalidError
from tests.fix_auth import client_endpoint
from tests.kit_login import browser, coded


class TestAnIdToken:
    @pytest.mark.parametrize(
        ("fault", "claim", "words"),
        [
            ("alg_none", "alg", ["'none'", "allowed: RS256", "beware"]),
            ("hs256_public_key", "alg", ["'HS256'", "allowed: RS256", "beware"]),
            ("wrong_signature", "signature", ["is not its issuer's", "do not use it"]),
            ("wrong_audience", "aud", ["'somebody-else'", "right audience"]),
            ("wrong_azp", "azp", ["azp 'x'", "another client"]),
            ("wrong_issuer", "iss", ["issuer.elsewhere.example", "correct auth.issuer"]),
            ("wrong_nonce", "nonce", ["another nonce", "log in again"]),
            ("wrong_at_hash", "at_hash", ["another access token"]),
            ("expired", "exp", ["expired at", "get a new one"]),
            ("from_the_future", "iat", ["from the future", "clock"]),
        ],
    )
    def test_that_is_not_in_order_is_refused(
        self, fault: str, claim: str, words: list[str], auth_server: AuthServer
    ) -> None:
        auth_server.control.id_token_fault = fault
        store, end = MemoryTokenStore(), coded(auth_server)
        with pytest.raises(TokenInvalidError) as raised:
            login(end, store, show=lambda p: None, open_browser=browser())
        assert raised.value.claim == claim
        for word in words:
            assert word in str(raised.value)
        assert store.peek(end.slot) is None

    def test_is_proved_again_at_a_renewal(self, auth_server: AuthServer) -> None:
        store, end = MemoryTokenStore(), coded(auth_server)
        login(end, store, show=lambda p: None, open_browser=browser())
        before = store.peek(end.slot)
        auth_server.control.id_token_fault = "wrong_signature"
        assert before is not None and before.access_token
        with pytest.raises(TokenInvalidError, match="is not its issuer's"):
            TokenSource(end, store).renewed(before.access_token)
        after = store.peek(end.slot)
        # The rotated refresh token is the only one left, and is kept whatever the ID token is.
        assert after is not None and after.refresh_token not in (None, before.refresh_token)

    @pytest.mark.parametrize("fault", ["wrong_signature", "jwks_away"])
    def test_that_is_not_proved_at_a_renewal_keeps_its_access_token_from_every_later_task(
        self, fault: str, auth_server: AuthServer
    ) -> None:
        store, end = MemoryTokenStore(), coded(auth_server)
        login(end, store, show=lambda p: None, open_browser=browser())
        before = store.peek(end.slot)
        assert before is not None and before.access_token
        if fault == "jwks_away":
            # Nobody listens there.
            auth = end.auth.model_copy(update={"jwks_uri": "http://127.0.0.1:9/jwks"})
            end = replace(end, auth=auth)
        else:
            auth_server.control.id_token_fault = fault
        for _ in range(2):
            with pytest.raises(SinewError):
                TokenSource(end, store).renewed(before.access_token)
            with pytest.raises(SinewError):
                TokenSource(end, store).current()
        after = store.peek(end.slot)
        # What the next one is compared with is the ID token that was proved.
        assert after is not None and after.id_token == before.id_token

    def test_needs_an_issuer_to_be_checked_by(self, auth_server: AuthServer) -> None:
        end = coded(auth_server)
        auth = end.auth.model_copy(
            update={
                "issuer": None,
                "token_endpoint": f"{auth_server.issuer}/token",
                "authorization_endpoint": f"{auth_server.issuer}/authorize",
            }
        )
        with pytest.raises(TokenInvalidError, match="add auth.issuer"):
            login(
                replace(end, auth=auth),
                MemoryTokenStore(),
                show=lambda p: None,
                open_browser=browser(),
            )

    def test_tells_whose_userinfo_to_take(self, auth_server: AuthServer) -> None:
        store, end = MemoryTokenStore(), coded(auth_server)
        login(end, store, show=lambda p: None, open_browser=browser())
        server, token = AuthorizationServer(end), store.peek(end.slot)
        assert token is not None
        subject = check_id_token(server, token, nonce=None)["sub"]
        assert userinfo(server, token.access_token or "", subject)["name"] == "Ada Demo"
        with pytest.raises(TokenInvalidError, match="about another person"):
            userinfo(server, token.access_token or "", "grace")


class TestAnAccessTokenAtAResourceServer:
    @pytest.mark.parametrize(
        ("fault", "claim"),
        [
            ("alg_none", "alg"),
            ("hs256_public_key", "alg"),
            ("wrong_signature", "signature"),
            ("wrong_audience", "aud"),
            ("wrong_issuer", "iss"),
            ("expired", "exp"),
            ("from_the_future", "iat"),
        ],
    )
    def test_that_is_not_in_order_is_refused(
        self, fault: str, claim: str, auth_server: AuthServer
    ) -> None:
        auth_server.control.access_token_fault = fault
        with pytest.raises(TokenInvalidError) as raised:
            self.proven(auth_server)
        assert raised.value.claim == claim

    def proven(self, auth_server: AuthServer, **more: Any) -> Any:
        end = client_endpoint(auth_server, "client_secret_basic")
        server = AuthorizationServer(end)
        token = TokenSource(end, MemoryTokenStore(), server).current()
        expected = {"issuer": auth_server.issuer, "audience": "urn:demo:shop"} | more
        return validate_access_token(token, keys=keys_of(server), **expected)

    def test_is_taken_for_its_audience_and_scope(self, auth_server: AuthServer) -> None:
        claims = self.proven(auth_server, scopes=["orders:read"]).claims
        assert claims["scope"] == "orders:read"
        assert self.proven(auth_server, audience=["urn:other", "urn:demo:shop"])

    def test_for_another_audience_says_whose_it_is(self, auth_server: AuthServer) -> None:
        with pytest.raises(
            TokenInvalidError, match=r"aud 'urn:demo:shop'; allowed: urn:demo:marketing"
        ):
            self.proven(auth_server, audience="urn:demo:marketing")

    def test_without_the_scope_says_which(self, auth_server: AuthServer) -> None:
        with pytest.raises(
            TokenInvalidError, match="lacks the scope contacts:write; it has orders:read"
        ):
            self.proven(auth_server, scopes=["contacts:write"])

    def test_an_id_token_is_none(self, auth_server: AuthServer) -> None:
        store, end = MemoryTokenStore(), coded(auth_server)
        login(end, store, show=lambda p: None, open_browser=browser())
        token = store.peek(end.slot)
        assert token is not None
        with pytest.raises(TokenInvalidError, match="typ is 'JWT'; allowed: at") as raised:
            validate_access_token(
                token.id_token or "", keys=keys_of(AuthorizationServer(end)), issuer=auth_server.issuer, audience="x"
            )  # fmt: skip
        assert raised.value.claim == "typ"

    @pytest.mark.parametrize("text", ["", "opaque", "a.b.c", "....", "é.é.é", "x" * 200_000])
    def test_nonsense_is_refused_without_a_crash(self, text: str, auth_server: AuthServer) -> None:
        keys = keys_of(AuthorizationServer(client_endpoint(auth_server, "client_secret_basic")))
        with pytest.raises(TokenInvalidError, match="no signed JWT"):
            validate_access_token(text, keys=keys, issuer="x", audience="x")

    @pytest.mark.parametrize("style", ["", "_opaque"])
    def test_introspection_says_whether_it_is_active(
        self, style: str, auth_server: AuthServer
    ) -> None:
        server = AuthorizationServer(client_endpoint(auth_server, "resource_server"))
        token = TokenSource(
            client_endpoint(auth_server, f"client_secret_basic{style}"), MemoryTokenStore()
        ).current()
        assert introspect(server, token)["scope"] == "orders:read"
        auth_server.control.forget_access_tokens()
        with pytest.raises(TokenInvalidError, match="not active"):
            introspect(server, token)

    def test_introspection_knows_the_binding(self, tls_auth_server: AuthServer) -> None:
        end = client_endpoint(tls_auth_server, "tls_client_auth_opaque")
        server = AuthorizationServer(end)
        token = TokenSource(end, MemoryTokenStore(), server).current()
        assert introspect(server, token, thumbprint=server.thumbprint)["active"] is True
        with pytest.raises(TokenInvalidError, match="use one certificate"):
            introspect(server, token, thumbprint="A" * 43)


class Issuer:
    """Keys and tokens of an issuer that only exists here; counts how often its keys are fetched."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "one"})]
        self.fetched = 0

    def jwks(self) -> dict[str, Any]:
        self.fetched += 1
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def token(self, alg: str = "RS256", key: Any = None, **header: Any) -> str:
        now = int(time.time())
        claims = {"iss": "i", "sub": "s", "aud": "c", "iat": now, "exp": now + 60}
        key = key or self.keys[-1]
        kid = {} if header.get("kid", "") is None else {"kid": key.kid}
        header = {name: value for name, value in header.items() if value is not None}
        return jwt.encode({"alg": alg} | kid | header, claims, key, algorithms=[alg])


def proven(token: str, keys: KeySource) -> Any:
    return validate_id_token(token, keys=keys, issuer="i", client_id="c")


class TestKeysThatRotate:
    def test_an_unknown_key_is_fetched_once_more(self) -> None:
        issuer = Issuer()
        keys = KeySource(issuer.jwks, min_interval=0)
        proven(issuer.token(), keys)
        old = issuer.token()
        issuer.keys.append(RSAKey.generate_key(2048, {"kid": "two"}))
        proven(issuer.token(), keys)
        proven(old, keys)
        assert issuer.fetched == 2

    def test_invented_keys_do_not_make_us_ask_for_each(self) -> None:
        issuer, stranger = Issuer(), RSAKey.generate_key(2048, {"kid": "x"})
        keys = KeySource(issuer.jwks)
        proven(issuer.token(), keys)
        for _ in range(20):
            with pytest.raises(TokenInvalidError, match="does not publish; allowed: one"):
                proven(issuer.token(key=stranger), keys)
        assert issuer.fetched == 1

    @pytest.mark.parametrize("keep", [600.0, 0.0])
    def test_the_demo_server_may_rotate_under_us(
        self, keep: float, auth_server: AuthServer
    ) -> None:
        end = client_endpoint(auth_server, "client_secret_basic")
        server = AuthorizationServer(end)
        keys = KeySource(lambda: server.get_json(server.url("jwks_uri", "it")).body, min_interval=0)  # type: ignore[union-attr]
        expected = {"keys": keys, "issuer": auth_server.issuer, "audience": "urn:demo:shop"}
        source = TokenSource(end, MemoryTokenStore(), server)
        old = source.current()
        validate_access_token(old, **expected)
        auth_server.control.rotate_keys(keep)
        new = source.renewed(old)
        validate_access_token(new, **expected)
        if keep:
            validate_access_token(old, **expected)
        else:
            with pytest.raises(TokenInvalidError, match="does not publish"):
                validate_access_token(old, **expected)

    def test_a_symmetric_key_in_the_set_is_no_way_in(self) -> None:
        issuer, shared = Issuer(), OctKey.generate_key(256, {"kid": "shared"})
        keys = KeySource(lambda: {"keys": [shared.as_dict(private=True), *issuer.jwks()["keys"]]})
        with pytest.raises(TokenInvalidError, match="alg 'HS256'"):
            proven(issuer.token("HS256", shared), keys)
        # Even where somebody allows the algorithm.
        with pytest.raises(TokenInvalidError, match="does not publish"):
            validate_id_token(
                issuer.token("HS256", shared),
                keys=keys,
                issuer="i",
                client_id="c",
                algorithms=["HS256"],
            )

    def test_a_key_of_another_kind_does_not_fit(self) -> None:
        issuer, other = Issuer(), ECKey.generate_key("P-256", {"kid": "one"})
        with pytest.raises(TokenInvalidError, match="does not publish"):
            proven(issuer.token("ES256", other), KeySource(issuer.jwks))

    def test_a_token_that_names_no_key_is_taken_if_there_is_one_only(self) -> None:
        issuer = Issuer()
        proven(issuer.token(kid=None), KeySource(issuer.jwks))
        issuer.keys.append(RSAKey.generate_key(2048, {"kid": "two"}))
        with pytest.raises(TokenInvalidError, match="names no key"):
            proven(issuer.token(kid=None), KeySource(issuer.jwks))

    def test_an_extension_that_must_be_understood_is_refused(self) -> None:
        issuer = Issuer()
        token = issuer.token()
        head, *rest = token.split(".")
        header = {"alg": "RS256", "kid": "one", "crit": ["exp2"], "exp2": 1}
        head = urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
        with pytest.raises(TokenInvalidError):
            proven(".".join([head, *rest]), KeySource(issuer.jwks))
