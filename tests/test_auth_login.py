"""Logins of a person: in the browser, by a device, and at a server that others wrote."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests

from demo.shop.authserver import AuthServer
from sinew.auth.asking import userinfo
from sinew.auth.checks import check_id_token
from sinew.auth.endpoint import ApiEndpoint
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
from tests.kit_login import NONE, SCOPE, browser, changed, coded


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
