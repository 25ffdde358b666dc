"""Connections as endpoints: what is understood, what is refused and how it is told, and what is never shown."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew.auth.endpoint import ApiEndpoint, ConnectionParts, read_endpoint
from sinew.auth.models import ApiKey, Basic, Bearer, Hmac, NoAuth, OAuth2
from sinew.errors import EndpointError

URL = "https://api.example/v1"
PLANTED = "pl4nted-s3cret"
CREDENTIALS = {
    "type": "oauth2",
    "grant": "client_credentials",
    "token_endpoint": "https://id.example/token",
}


def read(
    auth: Any = None, url: str = URL, extra: dict[str, Any] | None = None, **parts: Any
) -> ApiEndpoint:
    said = dict(extra or {})
    if auth is not None:
        said["auth"] = auth
    return read_endpoint(ConnectionParts("crm", host=url, extra=said, **parts))


def told(auth: Any = None, **more: Any) -> list[str]:
    """The problems of a connection, each without the words before its path."""
    with pytest.raises(EndpointError) as raised:
        read(auth, **more)
    assert all(line.startswith("connection 'crm': ") for line in str(raised.value).split("\n"))
    return [problem.message.removeprefix("connection 'crm': ") for problem in raised.value.problems]


class TestWhereTheApiIs:
    @pytest.mark.parametrize(
        ("parts", "url"),
        [
            ({"host": "https://api.example/v1/"}, "https://api.example/v1"),
            ({"host": "api.example", "schema": "https"}, "https://api.example"),
            ({"host": "api.example", "schema": "https", "port": 8443}, "https://api.example:8443"),
            ({"host": "https://api.example/v1", "port": 8443}, "https://api.example:8443/v1"),
            ({"host": "127.0.0.1", "port": 80}, "http://127.0.0.1:80"),
        ],
    )
    def test_host_schema_and_port_are_read_as_the_http_provider_does(
        self, parts: dict[str, Any], url: str
    ) -> None:
        assert read_endpoint(ConnectionParts("crm", **parts)).base_url == url

    @pytest.mark.parametrize(
        ("url", "word"),
        [
            ("", "host: is missing"),
            ("ftp://api.example", "allowed: http, https"),
            ("https://me:pl4nted-s3cret@api.example", "user name or password"),
            ("https://api.example/?key=pl4nted-s3cret", "query or fragment"),
            ("https://api.example:port", "no URL that can be read"),
        ],
    )
    def test_an_address_that_cannot_serve_is_told_without_its_secrets(
        self, url: str, word: str
    ) -> None:
        (message,) = told(url=url)
        assert word in message
        assert PLANTED not in message

    def test_the_origin_names_scheme_host_and_port(self) -> None:
        assert read(url="https://API.example/v1").origin == "https://api.example:443"


class TestWhatIsUnderstood:
    def test_a_connection_without_auth_proves_nothing(self) -> None:
        assert read().auth == NoAuth()

    def test_login_and_password_alone_mean_basic(self) -> None:
        auth = read(login="me", password=PLANTED).auth
        assert isinstance(auth, Basic)
        assert (auth.username, auth.password.get_secret_value()) == ("me", PLANTED)

    @pytest.mark.parametrize(
        ("auth", "model", "field"),
        [
            ({"type": "api_key"}, ApiKey, "key"),
            ({"type": "basic"}, Basic, "password"),
            ({"type": "bearer"}, Bearer, "token"),
            ({"type": "hmac"}, Hmac, "secret"),
            (CREDENTIALS, OAuth2, "client_secret"),
            (CREDENTIALS | {"client_auth": "private_key_jwt"}, OAuth2, "private_key"),
            (CREDENTIALS | {"grant": "refresh_token"}, OAuth2, "refresh_token"),
            (CREDENTIALS | {"grant": "jwt_bearer"}, OAuth2, "private_key"),
        ],
    )
    def test_the_password_stands_for_the_secret_of_its_type(
        self, auth: dict[str, Any], model: type, field: str
    ) -> None:
        found = read(auth, login="me", password=PLANTED).auth
        assert isinstance(found, model)
        assert getattr(found, field).get_secret_value() == PLANTED

    def test_the_login_is_the_client_and_the_secret_goes_by_basic(self) -> None:
        auth = read(CREDENTIALS, login="me", password=PLANTED).oauth2
        assert auth is not None
        assert (auth.client_id, auth.client_auth) == ("me", "client_secret_basic")

    def test_a_person_with_a_public_client_needs_no_secret(self) -> None:
        auth = read(
            {"type": "oauth2", "grant": "device_code", "issuer": "https://id.example"}, login="me"
        ).oauth2
        assert auth is not None
        assert auth.client_auth == "none"

    def test_what_the_extra_says_wins_over_login_and_password(self) -> None:
        auth = read({"type": "bearer", "token": "a"}, password="b").auth
        assert isinstance(auth, Bearer)
        assert auth.token.get_secret_value() == "a"

    def test_scopes_are_a_list_or_a_text_with_blanks(self) -> None:
        for scope in ("a b", ["a", "b"]):
            auth = read(CREDENTIALS | {"scope": scope}, login="me", password="x").oauth2
            assert auth is not None
            assert auth.scope == ("a", "b")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("auth", "words"),
        [
            ({"type": "oauth"}, ["auth: type: the value 'oauth' is not known", "'oauth2'", "write one"]),
            ({"key": "x"}, ["auth: has no type", "allowed: none, api_key, basic"]),
            ("Bearer x", ["auth: is a text", "allowed: a map"]),
            ({"type": "api_key"}, ["auth.key: is missing", "add it"]),
            ({"type": "api_key", "key": 7}, ["auth.key: is 7", "allowed: a text"]),
            ({"type": "api_key", "key": "x", "in": "body"}, ["auth.in", "'body'", "header, query, cookie"]),
            ({"type": "api_key", "key": "x", "name": "a b"}, ["auth.name", "of the form"]),
            ({"type": "bearer", "token": "x", "tokn": "y"}, ["auth.tokn: the key 'tokn' is not known", "'token'"]),
            ({"type": "basic", "username": "a:b", "password": "x"}, ["auth.username"]),
            ({"type": "hmac", "key_id": "k", "secret": ""}, ["auth.secret: is empty"]),
            (CREDENTIALS | {"grant": "password", "client_secret": "x", "client_id": "c"},
             ["auth.grant: the value 'password' is not known", "client_credentials, refresh_token"]),
            (CREDENTIALS | {"client_id": "c"}, ["auth.client_secret: is missing", "connection's password"]),
            (CREDENTIALS | {"client_secret": "x"}, ["auth.client_id: is missing", "connection's login"]),
            (CREDENTIALS | {"client_id": "c", "client_auth": "none"}, ["auth.client_auth: is 'none'", "choose one"]),
            (CREDENTIALS | {"client_id": "c", "client_auth": "tls_client_auth"}, ["auth.tls.certificate: is missing"]),
            (CREDENTIALS | {"client_id": "c", "client_auth": "private_key_jwt"}, ["auth.private_key: is missing"]),
            (CREDENTIALS | {"client_id": "c", "client_secret": "x", "subject_token": "t"},
             ["auth.subject_token: is read for grant token_exchange only", "'client_credentials'"]),
            (CREDENTIALS | {"client_id": "c", "client_auth": "private_key_jwt", "private_key": "k", "algorithm": "HS256"},
             ["auth.algorithm: is 'HS256'", "ES256"]),
            (CREDENTIALS | {"client_id": "c", "client_secret": "x", "token_endpoint": None},
             ["auth.token_endpoint: is missing, and so is auth.issuer"]),
            (CREDENTIALS | {"client_id": "c", "client_secret": "x", "token_endpoint": "http://id.example/token"},
             ["auth.token_endpoint: is 'http://id.example/token'", "https", "insecure_http"]),
            (CREDENTIALS | {"client_id": "c", "client_secret": "x", "leeway": -1}, ["auth.leeway"]),
            (CREDENTIALS | {"client_id": "c", "grant": "authorization_code"}, ["auth.authorization_endpoint: is missing"]),
            (CREDENTIALS | {"client_id": "c", "grant": "refresh_token"}, ["auth.refresh_token: is missing"]),
        ],
    )  # fmt: skip
    def test_it_says_where_what_is_allowed_and_what_to_do(
        self, auth: Any, words: list[str]
    ) -> None:
        (message,) = told(auth)
        for word in words:
            assert word in message

    def test_all_problems_are_told_at_once(self) -> None:
        messages = told(
            {"type": "oauth2", "grant": "clientcredentials", "client_auth": "basic", "scpe": "a"},
            extra={"tls": {"certificate": "x"}, "timeout": {"connect": "soon"}, "header": {}},
        )
        paths = [message.split(":")[0] for message in messages]
        assert sorted(paths) == [
            "auth.client_auth",
            "auth.grant",
            "auth.scpe",
            "auth.token_endpoint",
            "header",
            "timeout.connect",
            "tls.key",
        ]

    def test_a_near_miss_is_guessed(self) -> None:
        (message,) = told({"type": "bearer", "token": "x"}, extra={"heders": {}})
        assert "did you mean 'headers'?" in message

    @pytest.mark.parametrize(
        "auth", [{"type": "bearer", "token": "x"}, {"type": "api_key", "key": "x"}]
    )
    def test_secrets_go_over_https_or_stay_on_this_machine(self, auth: dict[str, Any]) -> None:
        (message,) = told(auth, url="http://api.example")
        assert "sends secrets in clear" in message
        assert read(auth, url="http://127.0.0.1:80").base_url == "http://127.0.0.1:80"
        assert read(auth, url="http://api.example", extra={"insecure_http": True}).insecure_http

    def test_insecure_http_is_no_licence_for_nonsense(self) -> None:
        auth = CREDENTIALS | {
            "client_id": "c",
            "client_secret": "x",
            "token_endpoint": "gopher://id",
        }
        (message,) = told(auth, extra={"insecure_http": True})
        assert "auth.token_endpoint" in message


EVERYTHING = {
    "type": "oauth2",
    "grant": "token_exchange",
    "issuer": "https://id.example",
    "client_id": "c",
    "client_auth": "client_secret_post",
    **{
        name: PLANTED
        for name in (
            "client_secret",
            "private_key",
            "private_key_passphrase",
            "subject_token",
            "actor_token",
        )
    },
    "tls": {"certificate": "c", "key": PLANTED, "key_passphrase": PLANTED},
}


# Of these the value is told, for it is a word of a list.
CHOSEN = {"type", "grant", "client_auth", "algorithm"}


class TestWhatIsNeverShown:
    def test_a_repr_shows_no_secret(self) -> None:
        end = read(EVERYTHING, extra={"headers": {"X-Tenant": PLANTED}})
        parts = ConnectionParts("crm", password=PLANTED, extra={"auth": EVERYTHING})
        assert PLANTED not in repr(end) + str(end) + repr(end.auth) + str(end.auth) + repr(parts)
        assert PLANTED not in end.slot

    def test_an_endpoint_crosses_process_borders_whole(self) -> None:
        end = read(EVERYTHING)
        assert pickle.loads(pickle.dumps(end)) == end

    @settings(max_examples=60, deadline=None)
    @given(
        wrong=st.dictionaries(
            st.sampled_from(sorted(set(OAuth2.model_fields) - CHOSEN)),
            st.sampled_from(
                [PLANTED, [PLANTED], {"a": PLANTED}, {PLANTED[:3]: [PLANTED]}, 7, None, True]
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_a_message_repeats_no_value_that_may_be_a_secret(self, wrong: dict[str, Any]) -> None:
        try:
            end = read(EVERYTHING | wrong)
        except EndpointError as error:
            assert PLANTED not in str(error)
        else:
            assert PLANTED not in end.slot


class TestTheSlotOfItsToken:
    BASE = CREDENTIALS | {"client_id": "c", "client_secret": "x", "scope": "a"}

    @pytest.mark.parametrize(
        "change",
        [{"scope": "a b"}, {"client_id": "d"}, {"audience": "y"}, {"resource": ["https://r.example"]},
         {"token_endpoint": "https://id.example/other"}, {"token_params": {"tenant": "t"}}],
    )  # fmt: skip
    def test_another_token_has_another_slot(self, change: dict[str, Any]) -> None:
        assert read(self.BASE).slot != read(self.BASE | change).slot

    def test_another_api_has_another_slot_and_another_path_has_not(self) -> None:
        assert read(self.BASE).slot != read(self.BASE, url="https://other.example/v1").slot
        assert read(self.BASE).slot == read(self.BASE, url="https://api.example/v2").slot

    @pytest.mark.parametrize("change", [{"client_secret": "y"}, {"leeway": 5}, {"key_id": "k"}])
    def test_a_renewed_secret_leaves_the_slot_as_it_is(self, change: dict[str, Any]) -> None:
        assert read(self.BASE).slot == read(self.BASE | change).slot
