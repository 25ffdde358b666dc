"""APIs by Airflow connection: how a connection is read, its form, its session, and the store of its token."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from typing import Any
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from demo.shop.authserver import AuthServer
from sinew.auth.models import OAuth2
from sinew.errors import ConfigurationError, EndpointError
from sinew.hooks import apis
from sinew.hooks.api_form import FIELDS, folded
from sinew.hooks.lookup import Purpose, from_airflow, from_env
from tests.fix_auth import Api, extra_of
from tests.kit_mapped import ask

SECRET = "s3cret@/:?#%+ä"
PURPOSE = Purpose("a test names connection", "postgres://host/database")


def give(monkeypatch: pytest.MonkeyPatch, conn_id: str, **parts: Any) -> None:
    """A connection as its variable, in JSON."""
    text = json.dumps({"conn_type": "sinew_http"} | parts)
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)


def give_store(monkeypatch: pytest.MonkeyPatch, dsn: str, key: str) -> None:
    """The connection of the tokens, and the key, as variables."""
    parts = conninfo_to_dict(dsn)
    uri = "postgres://{user}:{password}@{host}:{port}/{dbname}".format(
        **{name: quote(str(value), safe="") for name, value in parts.items()}
    )
    monkeypatch.setenv("AIRFLOW_CONN_SINEW_TOKENS", uri)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", key)


def shop_api(
    monkeypatch: pytest.MonkeyPatch, server: AuthServer, url: str, name: str = "client_secret_basic"
) -> None:
    """Connection shop_api: OAuth by one of the ready-made clients."""
    extra = extra_of(server, server.clients[name], "client_credentials")
    give(monkeypatch, "shop_api", host=url, extra=extra)


class TestReadingAConnection:
    @pytest.mark.parametrize(
        "text",
        [
            "http://api.example/https",
            "http://me:p%40ss@api.example:8443/https?x=1",
            "sinew-http://me:pw@https%3A%2F%2Fapi.example%2Fv1",
            "http://https://me:pw@api.example:8443/",
            f"sinew-http://me@api.example/https?__extra__={quote(json.dumps({'auth': {'a': [1]}}))}",
            "postgresql://u:p@db:5432/name?sslmode=require",
            '{"conn_type": "sinew-http", "host": "https://api.example", "port": "99", "extra": {"a": 1}}',
            '{"conn_type": "http", "host": "api.example", "extra": "{\\"a\\": 1}"}',
        ],
    )
    def test_a_variable_says_with_and_without_airflow_the_same(
        self, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_ONE", text)
        with_it, without = from_airflow("one", PURPOSE), from_env("one", PURPOSE)
        for name, value in vars(without).items():
            # Airflow has None or an empty text for what is not there, and an alias of postgres.
            seen = vars(with_it)[name]
            assert (value or None) == (seen or None) or (value, seen) == ("postgresql", "postgres")

    @pytest.mark.parametrize("read", [apis.api_endpoint, apis.api_endpoint_from_env])
    def test_a_missing_connection_says_how_to_add_it(
        self, monkeypatch: pytest.MonkeyPatch, read: Any
    ) -> None:
        monkeypatch.delenv("AIRFLOW_CONN_NONE", raising=False)
        with pytest.raises(ConfigurationError) as raised:
            read("none")
        assert "airflow connections add none --conn-json '{" in str(raised.value)
        assert "AIRFLOW_CONN_NONE" in str(raised.value)

    def test_the_example_of_that_message_is_a_good_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_ONE", apis._EXAMPLE)
        assert apis.api_endpoint("one").oauth2 is not None

    @pytest.mark.parametrize("conn_type", apis.TYPES)
    def test_both_types_are_taken(self, monkeypatch: pytest.MonkeyPatch, conn_type: str) -> None:
        give(monkeypatch, "one", conn_type=conn_type, host="https://api.example/v1/")
        for read in (apis.api_endpoint, apis.api_endpoint_from_env):
            assert read("one").base_url == "https://api.example/v1"

    def test_another_type_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        give(monkeypatch, "one", conn_type="https", host="api.example", password=SECRET)
        with pytest.raises(
            ConfigurationError, match="'https'; an API needs http or sinew_http"
        ) as e:
            apis.api_endpoint("one")
        assert "s3cret" not in str(e.value)

    def test_an_extra_that_is_no_json_is_refused_without_being_quoted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(monkeypatch, "one", host="https://api.example", extra="{" + SECRET)
        for read in (apis.api_endpoint, apis.api_endpoint_from_env):
            with pytest.raises(ConfigurationError, match="is no JSON") as raised:
                read("one")
            assert "s3cret" not in str(raised.value)


class TestTheForm:
    def test_what_the_ui_writes_is_what_the_library_reads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = dict.fromkeys(FIELDS) | {
            "auth_type": "oauth2",
            "grant": "client_credentials",
            "client_auth": "client_secret_post",
            "endpoint": "https://login.example/token",
            "scope": "a b",
            "audience": "urn:shop",
            "auth": {"leeway": 5},
            "insecure_http": False,
        }
        give(
            monkeypatch,
            "one",
            host="https://api.example",
            login="me",
            password=SECRET,
            extra=written,
        )
        auth = apis.api_endpoint("one").oauth2
        assert isinstance(auth, OAuth2)
        assert (auth.grant, auth.client_auth) == ("client_credentials", "client_secret_post")
        assert (auth.token_endpoint, auth.scope) == ("https://login.example/token", ("a", "b"))
        assert (auth.audience, auth.leeway, auth.client_id) == (("urn:shop",), 5, "me")
        assert auth.client_secret is not None
        assert auth.client_secret.get_secret_value() == SECRET

    def test_an_untouched_form_means_no_authentication(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        extra = dict.fromkeys(FIELDS) | {"insecure_http": False}
        give(monkeypatch, "one", host="http://api.example", extra=extra)
        assert apis.api_endpoint("one").auth.type == "none"

    def test_a_field_and_its_block_that_differ_are_refused(self) -> None:
        extra = {"scope": "a", "auth": {"scope": "b"}}
        with pytest.raises(EndpointError, match="scope: is 'a', and auth.scope is another"):
            folded("one", extra)
        assert folded("one", extra | {"scope": "b"}) == {"auth": {"scope": "b"}}

    def test_fields_alone_are_refused_because_hooks_of_others_would_send_them(self) -> None:
        with pytest.raises(EndpointError, match="insecure_http: is missing beside grant"):
            folded("one", {"grant": "client_credentials", "scope": None})
        assert folded("one", {"grant": "x", "insecure_http": False})["auth"] == {"grant": "x"}

    def test_secrets_have_names_that_airflow_masks(self) -> None:
        from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

        extra = {
            "auth": {"type": "api_key", "api_key": "a", "tls": {"private_key": "b"}},
            "tls": {"private_key": "c", "certificate": "d"},
        }
        assert folded("one", extra) == {
            "auth": {"type": "api_key", "key": "a", "tls": {"key": "b"}},
            "tls": {"key": "c", "certificate": "d"},
        }
        assert should_hide_value_for_key("api_key") and should_hide_value_for_key("private_key")
        with pytest.raises(EndpointError, match="tls.private_key: is the same as tls.key"):
            folded("one", {"tls": {"private_key": "a", "key": "b"}})

    def test_no_field_of_the_form_is_masked_or_secret(self) -> None:
        from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

        assert [name for name in FIELDS if should_hide_value_for_key(name)] == []
        assert {f.fills for f in FIELDS.values()} <= {None, *OAuth2.model_fields}


class TestOpening:
    @pytest.mark.parametrize("make", [apis.api_opener, apis.api_opener_from_env])
    def test_an_api_without_oauth_needs_no_store(
        self, monkeypatch: pytest.MonkeyPatch, api: Api, make: Any
    ) -> None:
        monkeypatch.delenv("AIRFLOW_CONN_SINEW_TOKENS", raising=False)
        extra = {"auth": {"type": "api_key"}}
        give(monkeypatch, "shop_api", host=api.url, password="the key", extra=extra)
        opener = pickle.loads(pickle.dumps(make("shop_api")))
        with opener() as session:
            assert session.get("/x").status_code == 200
        assert api.requests[0].headers["x-api-key"] == "the key"

    @pytest.mark.parametrize("make", [apis.api_opener, apis.api_opener_from_env])
    def test_tokens_are_kept_in_the_installations_store(
        self,
        monkeypatch: pytest.MonkeyPatch,
        auth_server: AuthServer,
        guarded_api: Api,
        home_db: str,
        fernet_key: str,
        make: Any,
    ) -> None:
        give_store(monkeypatch, home_db, fernet_key)
        shop_api(monkeypatch, auth_server, guarded_api.url)
        for _ in range(2):
            with make("shop_api")() as session:
                assert session.get("/").status_code == 200
        assert auth_server.control.token_requests() == 1

    @pytest.mark.parametrize("make", [apis.api_opener, apis.api_opener_from_env])
    def test_without_a_store_oauth_is_refused_with_the_remedy(
        self, monkeypatch: pytest.MonkeyPatch, auth_server: AuthServer, make: Any
    ) -> None:
        monkeypatch.delenv("AIRFLOW_CONN_SINEW_TOKENS", raising=False)
        shop_api(monkeypatch, auth_server, "http://127.0.0.1:9")
        with pytest.raises(
            ConfigurationError, match="airflow connections add sinew_tokens --conn-uri 'postgres://"
        ):
            make("shop_api")()
        monkeypatch.setenv("SINEW_TOKENS_CONN", "elsewhere")
        with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_ELSEWHERE"):
            make("shop_api")()
        assert auth_server.control.token_requests() == 0

    @pytest.mark.parametrize("make", [apis.api_opener, apis.api_opener_from_env])
    @pytest.mark.parametrize(("key", "word"), [("", "is empty"), ("nonsense", "is malformed")])
    def test_a_fernet_key_that_does_not_encrypt_is_refused(
        self,
        monkeypatch: pytest.MonkeyPatch,
        auth_server: AuthServer,
        home_db: str,
        make: Any,
        key: str,
        word: str,
    ) -> None:
        give_store(monkeypatch, home_db, key)
        shop_api(monkeypatch, auth_server, "http://127.0.0.1:9")
        with pytest.raises(ConfigurationError, match=f"the Fernet key {word}"):
            make("shop_api")()

    def test_an_opener_holds_no_secret(
        self, monkeypatch: pytest.MonkeyPatch, auth_server: AuthServer
    ) -> None:
        shop_api(monkeypatch, auth_server, "http://127.0.0.1:9")
        secret = auth_server.clients["client_secret_basic"].secret
        opener = apis.api_opener("shop_api")
        assert secret and secret.encode() not in pickle.dumps(opener)


class TestMappedTasks:
    @pytest.mark.slow
    def test_two_hundred_calls_on_eight_processes_ask_for_one_token_a_lifetime(
        self,
        monkeypatch: pytest.MonkeyPatch,
        auth_server: AuthServer,
        guarded_api: Api,
        home_db: str,
        fernet_key: str,
    ) -> None:
        give_store(monkeypatch, home_db, fernet_key)
        shop_api(monkeypatch, auth_server, guarded_api.url)
        calls = [apis.api_opener("shop_api")] * 200
        context = multiprocessing.get_context("forkserver")
        # Airflow's modules are loaded once, not in each of the eight.
        context.set_forkserver_preload(["airflow.sdk", "airflow.configuration", "tests.kit_mapped"])
        with context.Pool(8) as pool:
            assert pool.map(ask, calls, chunksize=5) == [200] * 200
            assert auth_server.control.token_requests() == 1
            assert len(set(guarded_api.tokens)) == 1
            # The end of that token's life: all eight are refused, and one of them renews.
            auth_server.control.forget_access_tokens()
            assert pool.map(ask, calls[:48], chunksize=3) == [200] * 48
            assert auth_server.control.token_requests() == 2
            assert len(set(guarded_api.tokens)) == 2
