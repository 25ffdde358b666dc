"""Logins of a person and proofs of tokens: nonce, state, issuer, signatures, and keys that rotate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from demo.shop.authserver import AuthServer
from sinew.auth.asking import introspect, userinfo
from sinew.auth.checks import check_id_token, keys_of, validate_access_token, validate_id_token
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.jwks import KeySource
from sinew.auth.life import TokenSource
from sinew.auth.login import Prompt, login
from sinew.auth.server import AuthorizationServer
from sinew.auth.session import open_session
from sinew.auth.store import MemoryTokenStore
from sinew.errors import (
    AuthenticationError,
    ConfigurationError,
    LoginNeededError,
    TokenInvalidError,
    TokenRefusedError,
)
from tests.fix_auth import Api, client_endpoint, endpoint, guarded, serving
from tests.fix_shop_servers import IndependentProvider

NONE = "none"  # the public client of the demo's server
SCOPE = "openid profile orders:read"


def coded(server: AuthServer, **auth: Any) -> ApiEndpoint:
    server.control.auto_consent = True
    return client_endpoint(server, NONE, "authorization_code", **{"scope": SCOPE} | auth)


def browser(tamper: Callable[[str], str] = lambda url: url) -> Callable[[str], bool]:
    """Follows the login to its end in a thread; ``tamper`` changes the URL that it brings back."""

    def visit(url: str) -> None:
        answer = requests.get(url, allow_redirects=False, timeout=10)
        requests.get(tamper(answer.headers["Location"]), timeout=10)

    def open_it(url: str) -> bool:
        threading.Thread(target=visit, args=(url,), daemon=True).start()
        return True

    return open_it


def changed(url: str, **parameters: str | None) -> str:
    """A URL with other parameters; None takes one away."""
    split = urlsplit(url)
    query = dict(parse_qsl(split.query)) | parameters
    return split._replace(
        query=urlencode({k: v for k, v in query.items() if v is not None})
    ).geturl()


class TestALoginInTheBrowser:
    def test_stores_a_token_and_shows_none(self, auth_server: AuthServer) -> None:
        end, store, prompts = coded(auth_server), MemoryTokenStore(), []
        shown = login(end, store, show=prompts.append, open_browser=browser())
        stored = store.peek(end.slot)
        assert (
            stored is not None and stored.access_token and stored.refresh_token and stored.id_token
        )
        assert set(shown.scopes) == set(SCOPE.split())
        assert shown.renewable and shown.state == "alive"
        for secret in (stored.access_token, stored.refresh_token, stored.id_token):
            assert secret not in repr(shown) + repr(prompts)

    def test_asks_with_pkce_state_and_nonce(self, auth_server: AuthServer) -> None:
        end, prompts = coded(auth_server, resource=["urn:demo:shop", "urn:demo:marketing"]), []
        login(end, MemoryTokenStore(), show=prompts.append, open_browser=browser())
        query = parse_qs(urlsplit(prompts[0].url).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["resource"] == ["urn:demo:shop", "urn:demo:marketing"]
        assert len(query["state"][0]) == len(query["nonce"][0]) == 43
        assert query["redirect_uri"][0].startswith("http://127.0.0.1:")

    def test_is_renewed_by_its_refresh_token(self, auth_server: AuthServer) -> None:
        with serving(guarded(auth_server)) as api:
            auth_server.control.auto_consent = True
            end = client_endpoint(auth_server, NONE, "authorization_code", url=api.url, scope=SCOPE)
            store = MemoryTokenStore()
            login(end, store, show=lambda prompt: None, open_browser=browser())
            auth_server.control.forget_access_tokens()
            assert open_session(end, store).get("/").status_code == 200
        assert auth_server.control.token_requests(grant="refresh_token", outcome="ok") == 1

    def test_works_with_a_browser_that_is_elsewhere(self, auth_server: AuthServer) -> None:
        prompts: list[Prompt] = []

        def paste() -> str:
            return requests.get(prompts[0].url, allow_redirects=False, timeout=10).headers[
                "Location"
            ]

        end = coded(auth_server)
        assert login(end, MemoryTokenStore(), show=prompts.append, paste=paste).state == "alive"

    @pytest.mark.parametrize(
        ("change", "error", "word"),
        [
            ({"iss": "https://evil.example"}, TokenInvalidError, "another server answered"),
            ({"iss": None}, TokenInvalidError, "issuer 'none'"),
            ({"code": None}, TokenInvalidError, "no code"),
            ({"code": "stolen"}, TokenRefusedError, "invalid_grant"),
            ({"code": None, "error": "access_denied"}, TokenRefusedError, "consent to it"),
        ],
    )
    def test_is_refused_when_its_answer_was_tampered_with(
        self,
        change: dict[str, str | None],
        error: type[Exception],
        word: str,
        auth_server: AuthServer,
    ) -> None:
        store, end = MemoryTokenStore(), coded(auth_server)
        with pytest.raises(error, match=word):
            login(
                end,
                store,
                show=lambda p: None,
                open_browser=browser(lambda url: changed(url, **change)),
            )
        assert store.peek(end.slot) is None

    def test_waits_on_when_somebody_else_knocks(self, auth_server: AuthServer) -> None:
        statuses: list[int] = []

        def knock(url: str) -> str:
            for wrong in (
                changed(url, state="other"),
                changed(url, state=None),
                url.replace("/callback", "/"),
            ):
                statuses.append(requests.get(wrong, timeout=10).status_code)
            rebound = {"Host": "evil.example"}
            statuses.append(requests.get(url, headers=rebound, timeout=10).status_code)
            return url

        assert login(
            coded(auth_server), MemoryTokenStore(), show=lambda p: None, open_browser=browser(knock)
        )
        assert statuses == [400, 400, 400, 400]

    def test_that_nobody_finishes_ends(self, auth_server: AuthServer) -> None:
        with pytest.raises(LoginNeededError, match="nobody finished the login"):
            login(
                coded(auth_server),
                MemoryTokenStore(),
                show=lambda p: None,
                open_browser=lambda url: True,
                seconds=0.1,
            )

    def test_pastes_only_its_own_answer(self, auth_server: AuthServer) -> None:
        with pytest.raises(TokenInvalidError, match="not the answer to this login"):
            login(
                coded(auth_server), MemoryTokenStore(), show=lambda p: None,
                paste=lambda: "http://127.0.0.1/callback?code=x&state=y",
            )  # fmt: skip

    @pytest.mark.parametrize(
        "uri", ["https://app.example/callback", "http://app.example/cb", "nonsense"]
    )
    def test_comes_back_to_this_machine_only(self, uri: str, auth_server: AuthServer) -> None:
        with pytest.raises(ConfigurationError, match="on a loopback address"):
            login(coded(auth_server, redirect_uri=uri), MemoryTokenStore(), show=lambda p: None)

    def test_is_not_for_a_grant_without_a_person(self, auth_server: AuthServer) -> None:
        with pytest.raises(ConfigurationError, match="needs no login"):
            login(
                client_endpoint(auth_server, "client_secret_basic"),
                MemoryTokenStore(),
                show=lambda p: None,
            )


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
        import json
        from base64 import urlsafe_b64encode

        header = {"alg": "RS256", "kid": "one", "crit": ["exp2"], "exp2": 1}
        head = urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
        with pytest.raises(TokenInvalidError):
            proven(".".join([head, *rest]), KeySource(issuer.jwks))


class TestALoginByDevice:
    def test_polls_until_the_person_has_typed_the_code(self, auth_server: AuthServer) -> None:
        auth_server.settings.device_interval = 0.05  # type: ignore[assignment]
        end, prompts = client_endpoint(auth_server, NONE, "device_code"), []

        def show(prompt: Prompt) -> None:
            prompts.append(prompt)
            threading.Timer(0.2, auth_server.control.approve_device, [prompt.user_code]).start()

        assert login(end, MemoryTokenStore(), show=show).state == "alive"
        assert prompts[0].url == f"{auth_server.issuer}/device"
        assert prompts[0].user_code in (prompts[0].url_with_code or "")
        assert auth_server.control.token_requests(outcome="authorization_pending") >= 1

    def test_that_is_denied_says_so(self, auth_server: AuthServer) -> None:
        auth_server.settings.device_interval = 0.05  # type: ignore[assignment]
        end = client_endpoint(auth_server, NONE, "device_code")
        with pytest.raises(TokenRefusedError, match="access_denied.*log in again"):
            login(
                end,
                MemoryTokenStore(),
                show=lambda p: bool(auth_server.control.deny_device(p.user_code or "")) and None,
            )

    def test_that_takes_too_long_ends(self, auth_server: AuthServer) -> None:
        auth_server.settings.device_interval = 0.05  # type: ignore[assignment]
        auth_server.settings.device_lifetime = 1
        with pytest.raises(AuthenticationError, match="not confirmed in time"):
            login(
                client_endpoint(auth_server, NONE, "device_code"),
                MemoryTokenStore(),
                show=lambda p: None,
            )

    def test_slows_down_when_told(self, monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
        slept: list[float] = []
        monkeypatch.setattr("sinew.auth.login.time.sleep", slept.append)
        answers = iter([b'{"error": "slow_down"}', b'{"error": "authorization_pending"}'])

        def respond(request: Any) -> Any:
            if request.path == "/device":
                return (
                    200,
                    {},
                    b'{"device_code": "d", "user_code": "u", "verification_uri": "http://x", "interval": 1, "expires_in": 60}',
                )
            return next(
                ((400, {}, answer) for answer in answers),
                (200, {}, b'{"access_token": "a", "token_type": "bearer"}'),
            )

        api.respond = respond
        auth = {
            "type": "oauth2", "grant": "device_code", "client_id": "c",
            "token_endpoint": api.url, "device_authorization_endpoint": f"{api.url}/device",
        }  # fmt: skip
        login(endpoint({"auth": auth}), MemoryTokenStore(), show=lambda p: None)
        assert slept == [1, 6, 6]


class TestAServerThatIsNotOurs:
    """``oidc-provider-mock``, which others wrote."""

    def endpoint(self, provider: IndependentProvider, url: str, **auth: Any) -> ApiEndpoint:
        block = {
            "type": "oauth2", "grant": "authorization_code", "issuer": provider.issuer, "client_id": "sinew",
            "client_secret": "s3cret", "client_auth": "client_secret_basic", "scope": "openid email",
        }  # fmt: skip
        return endpoint({"auth": block | auth}, url)

    @staticmethod
    def consent(url: str) -> bool:
        def visit() -> None:
            answer = requests.post(url, data={"sub": "alice"}, allow_redirects=False, timeout=10)
            requests.get(answer.headers["Location"], timeout=10)

        threading.Thread(target=visit, daemon=True).start()
        return True

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    def test_logs_a_person_in_and_renews(
        self, method: str, independent_provider: IndependentProvider, api: Api
    ) -> None:
        end, store = (
            self.endpoint(independent_provider, api.url, client_auth=method),
            MemoryTokenStore(),
        )
        shown = login(end, store, show=lambda p: None, open_browser=self.consent)
        assert shown.renewable
        session = open_session(end, store)
        assert session.get("/").status_code == 200
        server, token = AuthorizationServer(end), store.peek(end.slot)
        assert token is not None
        claims = check_id_token(server, token, nonce=None)
        assert (claims["sub"], claims["aud"]) == ("alice", ["sinew"])
        assert userinfo(server, token.access_token or "", "alice")["sub"] == "alice"
        if method == "client_secret_post":
            return  # that server takes this for a code, and not for a refresh token
        api.respond = lambda request: (401 if request.token == token.access_token else 200, {}, b"")
        assert session.get("/").status_code == 200

    def test_refuses_a_wrong_code_in_our_words(
        self, independent_provider: IndependentProvider, api: Api
    ) -> None:
        end = self.endpoint(independent_provider, api.url)

        def stolen(url: str) -> bool:
            query = dict(parse_qsl(urlsplit(url).query))
            back = f"{query['redirect_uri']}?code=stolen&state={query['state']}"
            threading.Thread(
                target=requests.get, args=(back,), kwargs={"timeout": 10}, daemon=True
            ).start()
            return True

        with pytest.raises(TokenRefusedError, match="invalid_grant"):
            login(end, MemoryTokenStore(), show=lambda p: None, open_browser=stolen)
