"""What is refused, and the message that says what to do; retriable only where waiting can help."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from demo.shop.authserver import AuthServer
from sinew.auth.checks import keys_of, validate_access_token
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.life import TokenSource
from sinew.auth.server import AuthorizationServer
from sinew.auth.session import open_session
from sinew.auth.store import MemoryTokenStore
from sinew.errors import (
    AuthenticationError,
    LoginNeededError,
    RetriableError,
    TokenInvalidError,
    TokenRefusedError,
)
from tests.fix_auth import Api, client_endpoint, endpoint, extra_of

pytestmark = pytest.mark.usefixtures("quick_retries")

BASIC = "client_secret_basic"


def refused(end: ApiEndpoint, error: type[Exception] = TokenRefusedError) -> str:
    """The message of a token that cannot be got."""
    with pytest.raises(error) as raised:
        TokenSource(end, MemoryTokenStore()).current()
    assert not isinstance(raised.value, RetriableError)
    return str(raised.value)


class TestAWrongSecret:
    @pytest.mark.parametrize("method", [BASIC, "client_secret_post", "client_secret_jwt"])
    def test_says_which_field_to_correct_and_not_the_secret(
        self, method: str, auth_server: AuthServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        wrong = "pl4nted-secret-of-more-than-thirty-two-bytes"
        message = refused(client_endpoint(auth_server, method, client_secret=wrong))
        assert "invalid_client" in message
        assert "correct client_id (login) and client_secret (password)" in message
        assert method in message
        assert wrong not in message + caplog.text

    def test_a_key_that_is_not_registered_says_so(self, auth_server: AuthServer) -> None:
        other = auth_server.clients["private_key_jwt_es256"]
        end = client_endpoint(
            auth_server, "private_key_jwt", private_key=other.private_pem, key_id=other.kid, algorithm="ES256"
        )  # fmt: skip
        assert "register the public key of auth.private_key" in refused(end)

    def test_a_key_that_cannot_be_read_says_what_is_allowed(self, auth_server: AuthServer) -> None:
        message = refused(
            client_endpoint(auth_server, "private_key_jwt", private_key="pl4nted"),
            AuthenticationError,
        )
        assert "auth.private_key" in message
        assert "PEM" in message
        assert "pl4nted" not in message

    def test_a_scope_that_is_not_given_says_so(self, auth_server: AuthServer) -> None:
        assert "correct auth.scope" in refused(client_endpoint(auth_server, BASIC, scope="admin"))

    def test_a_resource_that_is_unknown_says_so(self, auth_server: AuthServer) -> None:
        message = refused(client_endpoint(auth_server, BASIC, resource="https://nowhere.example"))
        assert "correct auth.resource or auth.audience" in message


class TestAClockThatIsOff:
    @pytest.mark.parametrize(("shift", "side"), [(600, "behind"), (-600, "ahead of")])
    @pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_jwt"])
    def test_is_named_when_an_assertion_is_refused(
        self, method: str, shift: float, side: str, auth_server: AuthServer
    ) -> None:
        auth_server.control.clock_shift = shift
        message = refused(client_endpoint(auth_server, method))
        assert re.search(
            rf"this machine's clock is (10 min \d+ s|9 min 5\d s) {side} the server's", message
        )
        assert "set the clock" in message

    def test_is_named_for_the_grant_by_assertion(self, auth_server: AuthServer) -> None:
        (issuer,) = auth_server.issuers.values()
        assertion = {
            "issuer": issuer.issuer,
            "subject": "ada",
            "private_key": issuer.private_pem,
            "key_id": issuer.key.kid,
        }
        auth_server.control.clock_shift = 600
        message = refused(client_endpoint(auth_server, BASIC, "jwt_bearer", assertion=assertion))
        assert "invalid_grant" in message
        assert "behind the server's" in message

    def test_is_not_blamed_when_it_is_right(self, auth_server: AuthServer) -> None:
        assert "clock" not in refused(
            client_endpoint(auth_server, "client_secret_jwt", client_secret="x" * 40)
        )

    def test_does_not_matter_where_nothing_is_signed(self, auth_server: AuthServer) -> None:
        auth_server.control.clock_shift = 600
        assert TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()

    def test_is_named_for_an_id_token_too(self, auth_server: AuthServer) -> None:
        server = AuthorizationServer(client_endpoint(auth_server, BASIC))
        auth_server.control.clock_shift = -4000
        token = TokenSource(
            client_endpoint(auth_server, BASIC), MemoryTokenStore(), server
        ).current()
        with pytest.raises(
            TokenInvalidError, match="expired at .* ahead of the server's"
        ) as raised:
            validate_access_token(
                token, keys=keys_of(server), issuer=auth_server.issuer, audience="urn:demo:shop", skew=server.skew
            )  # fmt: skip
        assert raised.value.claim == "exp"


class TestARevokedToken:
    def test_an_access_token_is_renewed_without_a_word(
        self, auth_server: AuthServer, guarded_api: Api
    ) -> None:
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        session = open_session(end, MemoryTokenStore())
        session.get("/")
        auth_server.control.forget_access_tokens()
        assert session.get("/").status_code == 200

    def test_a_refresh_token_asks_for_a_login(self, auth_server: AuthServer) -> None:
        first = auth_server.issue_refresh_token(BASIC)
        end = client_endpoint(auth_server, BASIC, "refresh_token", refresh_token=first)
        TokenSource(end, MemoryTokenStore()).current()
        # Used again, by somebody who has another store: the server ends the family.
        message = refused(end, LoginNeededError)
        assert "refused its refresh token" in message
        assert "put a new refresh_token into connection 'shop_api'" in message
        assert first not in message


class TestAServerThatIsDown:
    def test_is_worth_a_retry(self) -> None:
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": "http://127.0.0.1:9/token",
            "client_id": "c",
            "client_secret": "pl4nted",
        }
        with pytest.raises(
            RetriableError, match="cannot be reached .connection refused.: try again later"
        ) as raised:
            TokenSource(endpoint({"auth": auth}), MemoryTokenStore()).current()
        assert "pl4nted" not in str(raised.value)

    def test_that_hangs_is_worth_a_retry(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(3, "hang", seconds=3)
        extra = extra_of(auth_server, auth_server.clients[BASIC], "client_credentials")
        end = endpoint(extra | {"timeout": {"connect": 0.5, "read": 0.2}})
        with pytest.raises(RetriableError, match="did not answer in time"):
            TokenSource(end, MemoryTokenStore()).current()

    def test_that_says_503_is_worth_a_retry(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(3, "unavailable")
        with pytest.raises(RetriableError, match="answered 503"):
            TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()


class TestDiscovery:
    def test_of_another_issuer_is_refused(self, auth_server: AuthServer) -> None:
        auth_server.control.issuer_in_discovery = "https://evil.example"
        message = refused(client_endpoint(auth_server, BASIC), AuthenticationError)
        assert "issuer 'https://evil.example'" in message
        assert "correct auth.issuer" in message
        assert auth_server.control.token_requests() == 0

    def test_a_slash_at_the_end_is_another_issuer(self, auth_server: AuthServer) -> None:
        end = client_endpoint(auth_server, BASIC, issuer=auth_server.issuer + "/")
        assert "a slash at its end counts" in refused(end, AuthenticationError)

    @pytest.mark.parametrize("path", ["", "/tenant"])
    def test_falls_back_to_the_document_of_rfc_8414(self, path: str, api: Api) -> None:
        issuer = api.url + path

        def respond(request: Any) -> Any:
            if request.path == f"/.well-known/oauth-authorization-server{path}":
                document = f'{{"issuer": "{issuer}", "token_endpoint": "{api.url}/token"}}'
                return 200, {"Content-Type": "application/json"}, document.encode()
            if request.path == "/token":
                return 200, {}, b'{"access_token": "a", "token_type": "Bearer"}'
            return 404, {}, b""

        api.respond = respond
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "issuer": issuer,
            "client_id": "c",
            "client_secret": "s",
        }
        assert TokenSource(endpoint({"auth": auth}), MemoryTokenStore()).current() == "a"

    def test_an_endpoint_in_clear_is_refused(self, api: Api) -> None:
        api.respond = lambda request: (
            200,
            {},
            f'{{"issuer": "{api.url}", "token_endpoint": "http://id.example/token"}}'.encode(),
        )
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "issuer": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "allowed: https" in refused(endpoint({"auth": auth}), AuthenticationError)

    def test_a_redirect_is_not_followed_with_the_secret(self, api: Api) -> None:
        api.respond = lambda request: (307, {"Location": "http://127.0.0.1:9/steal"}, b"")
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "a redirect, which is not followed" in refused(
            endpoint({"auth": auth}), AuthenticationError
        )


class TestWhatAServerWrites:
    def answer(self, api: Api, body: bytes, status: int = 400) -> str:
        api.respond = lambda request: (status, {"Content-Type": "application/json"}, body)
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "pl4nted-s3cret",
        }
        return refused(endpoint({"auth": auth}))

    def test_is_cut_and_cleaned(self, api: Api) -> None:
        message = self.answer(
            api,
            b'{"error": "invalid_request", "error_description": "line\\n\\u001b[31m'
            + b"x" * 5000
            + b'"}',
        )
        assert "\n" not in message and "\x1b" not in message
        assert len(message) < 600

    def test_never_repeats_what_was_sent(self, api: Api) -> None:
        message = self.answer(
            api, b'{"error": "invalid_client", "error_description": "pl4nted-s3cret is wrong"}'
        )
        assert "(*** is wrong)" in message

    def test_an_error_with_status_200_is_an_error(self, api: Api) -> None:
        assert "answered invalid_scope" in self.answer(api, b'{"error": "invalid_scope"}', 200)

    def test_another_kind_of_token_is_refused(self, api: Api) -> None:
        api.respond = lambda request: (200, {}, b'{"access_token": "a", "token_type": "DPoP"}')
        auth = {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_endpoint": api.url,
            "client_id": "c",
            "client_secret": "s",
        }
        assert "of type 'DPoP'; allowed: Bearer" in refused(
            endpoint({"auth": auth}), AuthenticationError
        )
