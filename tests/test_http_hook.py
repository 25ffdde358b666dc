"""The hook over the http provider's: what runs over HttpHook runs over ours, with our proof."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import requests
import tenacity

from demo.shop.authserver import AuthServer
from demo.shop.tls import Certificates
from sinew.errors import ConfigurationError, TlsError
from sinew.hooks import apis
from sinew.hooks.http_hook import OAuth2HttpHook
from sinew.provider import get_provider_info
from tests.fix_auth import Api, Request, fine, serving
from tests.test_apis import give, give_store, shop_api

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def connected(
    monkeypatch: pytest.MonkeyPatch,
    auth_server: AuthServer,
    guarded_api: Api,
    home_db: str,
    fernet_key: str,
) -> Api:
    """The API of connection shop_api, which has OAuth."""
    give_store(monkeypatch, home_db, fernet_key)
    shop_api(monkeypatch, auth_server, guarded_api.url)
    return guarded_api


def hook(method: str = "GET") -> OAuth2HttpHook:
    return OAuth2HttpHook(method=method, http_conn_id="shop_api")


class TestRequests:
    def test_run_authenticates(self, connected: Api) -> None:
        answer = hook().run("orders", {"page": "2"}, headers={"X-Trace": "7"})
        assert answer.status_code == 200
        assert (connected.requests[0].method, connected.requests[0].path) == (
            "GET",
            "/orders?page=2",
        )
        assert connected.requests[0].headers["x-trace"] == "7"
        assert connected.tokens[0]

    def test_a_body_is_sent(self, connected: Api) -> None:
        hook("POST").run("/orders", json={"id": 1})
        hook("PUT").run("/orders", data="text", headers={"Content-Type": "text/plain"})
        assert [request.body for request in connected.requests] == [b'{"id": 1}', b"text"]

    def test_a_token_that_the_api_refuses_is_renewed_once(
        self, connected: Api, auth_server: AuthServer
    ) -> None:
        hook().run("orders")
        auth_server.control.forget_access_tokens()
        assert hook().run("orders").status_code == 200
        assert auth_server.control.token_requests() == 2
        assert len(connected.requests) == 3

    def test_an_answer_that_is_an_error_is_raised_as_the_provider_does(
        self, connected: Api
    ) -> None:
        connected.respond = lambda request: (404, {}, b"")
        with pytest.raises(Exception, match="404:Not Found"):
            hook().run("nothing")
        options = {"check_response": False}
        assert hook().run("nothing", extra_options=options).status_code == 404

    def test_retries_of_the_provider_see_errors_of_the_network(
        self, connected: Api, monkeypatch: pytest.MonkeyPatch, auth_server: AuthServer
    ) -> None:
        shop_api(monkeypatch, auth_server, "http://127.0.0.1:9")
        tried: list[int] = []
        retries = {
            "stop": tenacity.stop_after_attempt(3),
            "wait": tenacity.wait_none(),
            "retry": tenacity.retry_if_exception_type(requests.ConnectionError),
            "before": lambda state: tried.append(state.attempt_number),
            "reraise": True,
        }
        with pytest.raises(requests.ConnectionError):
            hook().run_with_advanced_retry(retries, "orders")
        assert tried == [1, 2, 3]

    def test_options_of_a_call_reach_the_session(self, connected: Api) -> None:
        options = {"stream": True, "max_redirects": 3, "trust_env": False, "timeout": 7}
        with hook().get_conn(headers={"X-A": "b"}, extra_options=options) as session:
            assert (session.stream, session.max_redirects, session.trust_env) == (True, 3, False)
            assert session.headers["X-A"] == "b"

    def test_a_url_is_made_without_a_request(self, connected: Api) -> None:
        assert hook().url_from_endpoint("orders") == f"{connected.url}/orders"
        assert connected.requests == []


class TestTls:
    def test_a_private_ca_of_the_connection_is_trusted(
        self, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
    ) -> None:
        with serving(fine, certificates.server_context()) as api:
            tls = {"ca": str(certificates.authority)}
            give(monkeypatch, "shop_api", host=api.url, extra={"tls": tls})
            assert hook().run("x").status_code == 200
            give(monkeypatch, "shop_api", host=api.url)
            with pytest.raises(TlsError):
                hook().run("x")

    @pytest.mark.parametrize("option", [{"verify": False}, {"cert": "a.pem"}, {"verify": "/ca"}])
    def test_a_call_cannot_weaken_it(self, connected: Api, option: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="put certificates and CA into tls"):
            hook().run("orders", extra_options=option)

    @pytest.mark.parametrize("argument", [{"auth_type": object}, {"adapter": object()}])
    def test_nor_can_an_argument(self, argument: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="remove (auth_type|adapter)"):
            OAuth2HttpHook(http_conn_id="shop_api", **argument)


class TestTheConnection:
    @pytest.mark.parametrize("conn_type", apis.TYPES)
    def test_both_types_serve_the_hook(
        self, monkeypatch: pytest.MonkeyPatch, api: Api, conn_type: str
    ) -> None:
        extra = {"auth": {"type": "bearer"}}
        give(monkeypatch, "shop_api", conn_type=conn_type, host=api.url, password="t", extra=extra)
        assert hook().run("x").status_code == 200
        assert api.tokens == ["t"]

    def test_an_http_operator_takes_the_hook_by_the_connections_type(self, connected: Api) -> None:
        # Needs the installed package's entry point, as the UI does.
        from airflow.providers.http.operators.http import HttpOperator

        operator = HttpOperator(
            task_id="t", http_conn_id="shop_api", method="GET", endpoint="orders"
        )
        assert type(operator.hook) is OAuth2HttpHook
        assert operator.execute({}) == "{}"  # type: ignore[arg-type]
        assert connected.tokens[0]

    def test_trying_it_says_what_came_of_it(self, connected: Api, auth_server: AuthServer) -> None:
        good, told = hook().test_connection()
        assert good and "an access token of" in told and "answered 200" in told
        assert connected.requests[0].method == "GET"
        connected.respond = lambda request: (401, {}, b"")
        good, told = hook().test_connection()
        assert not good and "auth.audience" in told
        auth_server.control.fail_next(9, "oauth_error", error="invalid_client")
        good, told = hook().test_connection()
        assert not good and "correct client_id" in told


class TestHooksOfOthers:
    """A connection of ours in the provider's own hooks: nothing is sent that would give a secret away."""

    FORM = {"auth_type": "oauth2", "grant": "client_credentials", "insecure_http": False}
    BLOCK = {"auth": {"type": "oauth2", "grant": "client_credentials"}}

    @pytest.mark.parametrize("extra", [FORM, BLOCK])
    def test_the_plain_hook_refuses(
        self, monkeypatch: pytest.MonkeyPatch, api: Api, extra: dict[str, Any]
    ) -> None:
        from airflow.providers.http.hooks.http import HttpHook

        give(monkeypatch, "shop_api", host=api.url, login="me", password="pw", extra=extra)
        with pytest.raises(requests.exceptions.InvalidHeader):
            HttpHook("GET", "shop_api").run("x")
        assert api.requests == []

    @pytest.mark.parametrize("extra", [FORM, BLOCK])
    def test_the_asynchronous_hook_refuses(
        self, monkeypatch: pytest.MonkeyPatch, api: Api, extra: dict[str, Any]
    ) -> None:
        import asyncio

        import aiohttp
        from airflow.providers.http.hooks.http import HttpAsyncHook

        give(monkeypatch, "shop_api", host=api.url, login="me", password="pw", extra=extra)

        async def run() -> None:
            async with aiohttp.ClientSession() as session:
                await HttpAsyncHook("GET", "shop_api").run(session, "x")

        with pytest.raises(TypeError):
            asyncio.run(run())
        assert api.requests == []

    def test_the_absence_of_an_asynchronous_hook_is_told(self) -> None:
        text = (PROJECT / "docs" / "authentication.md").read_text(encoding="utf-8")
        for told in (text, OAuth2HttpHook.__doc__ or ""):
            assert "deferrable" in told and "HttpSensor" in told


class TestTheProvider:
    def test_the_entry_point_is_declared(self) -> None:
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
        points = project["project"]["entry-points"]["apache_airflow_provider"]
        assert points == {"provider_info": "sinew.provider:get_provider_info"}

    def test_airflow_lists_it(self) -> None:
        from airflow.providers_manager import ProvidersManager

        manager = ProvidersManager()
        assert "sinew" in manager.providers
        assert manager.connection_form_widgets["extra__sinew_http__grant"].field["schema"]["enum"]

    @pytest.mark.parametrize("schema", ["provider_info.schema.json", "provider.yaml.schema.json"])
    def test_its_description_is_as_airflow_wants_it(self, schema: str) -> None:
        import airflow
        import jsonschema

        text = (Path(airflow.__file__).parent / schema).read_text(encoding="utf-8")
        every = json.loads(text)
        rules = {"connection-types": every["properties"]["connection-types"]}
        said = {"connection-types": get_provider_info()["connection-types"]}
        jsonschema.validate(said, {"type": "object", "properties": rules})

    def test_the_hook_is_where_it_says(self) -> None:
        from importlib import import_module

        (conn_type,) = get_provider_info()["connection-types"]
        module, _, name = conn_type["hook-class-name"].rpartition(".")
        found = getattr(import_module(module), name)
        assert found is OAuth2HttpHook
        assert (found.conn_type, found.hook_name) == (
            conn_type["connection-type"],
            conn_type["hook-name"],
        )


def test_an_answer_that_repeats_the_proof_is_masked_in_the_log(
    monkeypatch: pytest.MonkeyPatch, connected: Api
) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    def echo(request: Request) -> tuple[int, dict[str, str], bytes]:
        return 500, {}, json.dumps(request.headers).encode()

    connected.respond = echo
    with pytest.raises(Exception, match="500"):
        hook().run("orders")
    # The provider's hook logs the whole answer.
    assert redact(f"the API said {connected.tokens[0]}") == "the API said ***"
