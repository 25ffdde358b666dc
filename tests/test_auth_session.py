"""Sessions: each kind of proof goes to its own API, and to nobody else; what they raise and never show."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import re
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
import requests

from demo.shop.authserver import AuthServer
from sinew.api.pages import read_pages
from sinew.api.transport import Call, Policy, send
from sinew.auth.probing import probe
from sinew.auth.session import open_session
from sinew.auth.store import MemoryTokenStore
from sinew.errors import LoginNeededError, RetriableError, SinewError, UnavailableError
from sinew.spec.resources import Resource
from tests.fix_auth import IDS, KINDS, SECRET, Api, Request, client_endpoint, endpoint, serving

BASIC = "client_secret_basic"


def session_of(auth: dict[str, Any], url: str, **extra: Any) -> requests.Session:
    return open_session(endpoint({"auth": auth, **extra}, url), MemoryTokenStore())


@pytest.fixture
def elsewhere() -> Iterator[Api]:
    """Another server, that must get no secret."""
    with serving() as one:
        yield one


class TestAProof:
    @pytest.mark.parametrize(
        ("auth", "header", "value"),
        [
            ({"type": "api_key", "key": SECRET}, "x-api-key", SECRET),
            ({"type": "api_key", "key": SECRET, "name": "Authorization", "prefix": "Key "}, "authorization", f"Key {SECRET}"),
            ({"type": "api_key", "key": "abc", "in": "cookie", "name": "sid"}, "cookie", "sid=abc"),
            ({"type": "bearer", "token": "abc"}, "authorization", "Bearer abc"),
            ({"type": "basic", "username": "ü", "password": "p:ä"}, "authorization", "Basic " + base64.b64encode("ü:p:ä".encode()).decode()),
        ],
    )  # fmt: skip
    def test_goes_into_its_header(
        self, auth: dict[str, Any], header: str, value: str, api: Api
    ) -> None:
        assert session_of(auth, api.url).get("/orders").status_code == 200
        assert api.requests[0].headers[header] == value

    def test_goes_into_the_query_beside_what_is_there(self, api: Api) -> None:
        session = session_of(
            {"type": "api_key", "key": SECRET, "in": "query", "name": "key"}, api.url
        )
        response = session.get("/orders", params={"page": 2})
        assert api.requests[0].path == "/orders?page=2&key=pl4nted%2Fs3cret%2B%26%3D"
        assert response.url == f"{api.url}/orders?page=2"

    @pytest.mark.parametrize("style", ["next_url", "link_header"])
    def test_that_a_server_writes_into_the_next_page_is_neither_kept_nor_sent_twice(
        self, style: str, api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)

        def respond(request: Request) -> tuple[int, dict[str, str], bytes]:
            if "page=2" in request.path:
                return 200, {}, b'{"data": []}'
            following = f"{api.url}{request.path}&page=2"
            return (
                200,
                {"Link": f'<{following}>; rel="next"'},
                json.dumps({"data": [], "next": following}).encode(),
            )

        api.respond = respond
        auth = {"type": "api_key", "key": SECRET, "in": "query", "name": "key$"}
        paged = {"style": style} | ({"next": "$.next"} if style == "next_url" else {})
        resource = Resource.model_validate(
            {"path": "/orders", "params": {"a": 1}, "records": "$.data", "pagination": paged}
        )
        with session_of(auth, api.url) as session:
            pages = list(read_pages(session, resource, {}))
        kept = json.dumps([page.cursor for page in pages]) + caplog.text
        assert quote(SECRET, safe="") not in kept
        assert [request.path for request in api.requests] == [
            f"/orders?a=1&key%24={quote(SECRET, safe='')}",
            f"/orders?a=1&page=2&key%24={quote(SECRET, safe='')}",
        ]

    def test_comes_with_the_connections_headers(self, api: Api) -> None:
        session_of({"type": "none"}, api.url, headers={"X-Tenant": "t"}).get("/")
        assert api.requests[0].headers["x-tenant"] == "t"

    def test_comes_with_headers_that_the_library_would_send_by_itself(self, api: Api) -> None:
        own = {"User-Agent": "shop/1", "accept": "application/vnd.shop.v2+json"}
        session = session_of({"type": "none"}, api.url, headers=own)
        session.get("/")
        send(session, Call("GET", "/", "GET /"), Policy())
        for request in api.requests:
            assert request.headers["user-agent"] == "shop/1"
            assert request.headers["accept"] == "application/vnd.shop.v2+json"
        session.get("/", headers={"Accept": "text/plain"})
        assert api.requests[-1].headers["accept"] == "text/plain"

    def test_is_not_taken_from_netrc(
        self, api: Api, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password netrc-secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        api.respond = lambda request: (
            (302, {"Location": "/b"}, b"") if request.path == "/a" else (200, {}, b"")
        )
        session_of({"type": "none"}, api.url).get("/a")
        assert [request.headers.get("authorization") for request in api.requests] == [None, None]

    def test_does_not_hang_on_the_response(self, api: Api) -> None:
        response = session_of({"type": "bearer", "token": SECRET}, api.url).get("/")
        assert "authorization" in api.requests[0].headers
        assert SECRET not in str(vars(response.request)) + str(response.request.headers)


class TestAUrl:
    @pytest.mark.parametrize(
        "path", ["/orders", "orders", "//orders", "/orders?a=https://x.example/"]
    )
    def test_is_relative_to_the_base(self, path: str, api: Api) -> None:
        session_of({"type": "none"}, f"{api.url}/v1/").get(path)
        assert api.requests[0].path.startswith("/v1/orders")

    def test_may_be_prepared_and_sent(self, api: Api) -> None:
        session = session_of({"type": "bearer", "token": "abc"}, api.url)
        session.send(session.prepare_request(requests.Request("GET", "/orders")))
        assert api.tokens == ["abc"]


class TestAnotherServer:
    @pytest.mark.parametrize("auth", KINDS, ids=IDS)
    @pytest.mark.parametrize("status", [302, 307])
    def test_gets_no_secret_by_a_redirect(
        self, status: int, auth: dict[str, Any], api: Api, elsewhere: Api
    ) -> None:
        api.respond = lambda request: (status, {"Location": f"{elsewhere.url}/stolen"}, b"")
        session = session_of(auth, api.url, headers={"X-Tenant": "pl4nted"})
        assert session.post("/", data=b"rows").status_code == 200
        (request,) = elsewhere.requests
        assert "pl4nted" not in request.path + str(request.headers)
        assert not {"authorization", "cookie", "x-signature", "signature", "x-tenant"} & set(
            request.headers
        )

    @pytest.mark.parametrize("auth", KINDS, ids=IDS)
    def test_gets_no_secret_when_it_is_asked(
        self, auth: dict[str, Any], api: Api, elsewhere: Api
    ) -> None:
        session_of(auth, api.url).get(f"{elsewhere.url}/orders")
        assert "pl4nted" not in elsewhere.requests[0].path + str(elsewhere.requests[0].headers)

    @pytest.mark.parametrize("auth", KINDS, ids=IDS)
    def test_may_redirect_back_and_the_proof_is_there_again(
        self, auth: dict[str, Any], api: Api, elsewhere: Api
    ) -> None:
        api.respond = lambda request: (
            (200, {}, b"")
            if request.path.startswith("/back")
            else (307, {"Location": f"{elsewhere.url}/x"}, b"")
        )
        elsewhere.respond = lambda request: (307, {"Location": f"{api.url}/back"}, b"")
        assert session_of(auth, api.url).get("/").status_code == 200
        first, last = api.requests
        proof = {"authorization", "x-api-key", "cookie", "x-signature", "signature"}
        assert proof & set(first.headers) == proof & set(last.headers)
        assert ("pl4nted" in first.path) == ("pl4nted" in last.path)

    def test_gets_no_oauth_token(self, auth_server: AuthServer, api: Api, elsewhere: Api) -> None:
        api.respond = lambda request: (302, {"Location": elsewhere.url}, b"")
        open_session(client_endpoint(auth_server, BASIC, url=api.url), MemoryTokenStore()).get("/")
        assert api.tokens[0]
        assert elsewhere.tokens == [""]

    def test_that_says_401_does_not_renew_our_token(
        self, auth_server: AuthServer, api: Api, elsewhere: Api
    ) -> None:
        api.respond = lambda request: (302, {"Location": elsewhere.url}, b"")
        elsewhere.respond = lambda request: (401, {}, b"")
        session = open_session(client_endpoint(auth_server, BASIC, url=api.url), MemoryTokenStore())
        assert session.get("/").status_code == 401
        assert auth_server.control.token_requests() == 1


class TestWhatIsRaised:
    def test_a_server_that_is_away_is_retriable_by_either_name(self) -> None:
        for error in (UnavailableError, requests.ConnectionError):
            with pytest.raises(error, match="connection refused"):
                session_of({"type": "bearer", "token": SECRET}, "http://127.0.0.1:9").get(
                    "/?q=pl4nted"
                )

    def test_a_server_that_is_slow_is_retriable_by_either_name(self, api: Api) -> None:
        gate = threading.Event()
        api.respond = lambda request: (gate.wait(5) and 200 or 200, {}, b"")
        for error in (RetriableError, requests.Timeout):
            with pytest.raises(error, match="did not answer in time"):
                session_of({"type": "none"}, api.url, timeout={"read": 0.1}).get("/")
        gate.set()

    @pytest.mark.parametrize("auth", KINDS, ids=IDS)
    def test_shows_no_secret_even_in_its_traceback(self, auth: dict[str, Any]) -> None:
        with pytest.raises(RetriableError) as raised:
            session_of(auth, "http://127.0.0.1:9").get("/?q=pl4nted")
        text = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
        assert "pl4nted" not in re.sub(r'get\("/\?q=pl4nted"\)', "", text)
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)

    def test_a_missing_login_comes_through(self, auth_server: AuthServer, api: Api) -> None:
        end = client_endpoint(auth_server, BASIC, "authorization_code", url=api.url)
        with pytest.raises(LoginNeededError):
            open_session(end, MemoryTokenStore()).get("/")
        assert api.requests == []


class TestASecretThatTheApiQuotes:
    """Some say in their refusal what they were given."""

    @pytest.mark.parametrize("status", [401, 403, 404, 200])
    @pytest.mark.parametrize("auth", KINDS[:3], ids=IDS[:3])
    def test_is_in_no_error(self, auth: dict[str, Any], status: int, api: Api) -> None:
        body = json.dumps({"error": f"no such key: {SECRET}"}).encode()
        api.respond = lambda request: (status, {}, body)
        resource = Resource.model_validate({"path": "/orders", "records": "$.data"})
        with session_of(auth, api.url) as session, pytest.raises(SinewError) as raised:
            list(read_pages(session, resource, {}))
        assert "no such key: ‹secret›" in str(raised.value)

    def test_is_not_in_what_a_test_tells(self, api: Api) -> None:
        api.respond = lambda request: (401, {"WWW-Authenticate": f'Bearer error="{SECRET}"'}, b"")
        found = probe(
            endpoint({"auth": {"type": "bearer", "token": SECRET}}, api.url), MemoryTokenStore()
        )
        assert SECRET not in str(found)

    def test_nor_is_an_access_token(self, auth_server: AuthServer, api: Api) -> None:
        def respond(request: Request) -> tuple[int, dict[str, str], bytes]:
            quoted = {"WWW-Authenticate": f"Bearer {request.token[:1]} {request.token}"}
            return 401, quoted, json.dumps({"error": f"bad: {request.token}"}).encode()

        api.respond = respond
        end = client_endpoint(auth_server, "client_secret_basic", url=api.url)
        resource = Resource.model_validate({"path": "/orders", "records": "$.data"})
        store = MemoryTokenStore()
        with open_session(end, store) as session, pytest.raises(SinewError) as raised:
            list(read_pages(session, resource, {}))
        found = probe(end, store)
        assert len(api.tokens) >= 2
        assert not [token for token in api.tokens if token in f"{raised.value} {found}"]


class TestLogs:
    @pytest.mark.parametrize("auth", KINDS, ids=IDS)
    def test_hold_no_secret(
        self, auth: dict[str, Any], api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        session_of(auth, api.url).get("/orders")
        assert "/orders" in caplog.text
        assert "pl4nted" not in caplog.text

    def test_hold_no_token_of_a_whole_life(
        self, auth_server: AuthServer, guarded_api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        first = auth_server.issue_refresh_token(BASIC)
        end = client_endpoint(
            auth_server, BASIC, "refresh_token", url=guarded_api.url, refresh_token=first
        )
        store = MemoryTokenStore()
        session = open_session(end, store)
        session.get("/")
        auth_server.control.forget_access_tokens()
        session.get("/")
        stored = store.peek(end.slot)
        assert stored is not None
        for secret in (
            first,
            stored.refresh_token,
            stored.access_token,
            *guarded_api.tokens,
            auth_server.clients[BASIC].secret,
        ):
            assert secret and secret not in caplog.text


class TestThreads:
    def test_may_share_a_session(self, auth_server: AuthServer, guarded_api: Api) -> None:
        session = open_session(
            client_endpoint(auth_server, BASIC, url=guarded_api.url), MemoryTokenStore()
        )
        session.get("/")
        auth_server.control.forget_access_tokens()
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda n: session.get(f"/{n}").status_code, range(40)))
        assert statuses == [200] * 40
        assert auth_server.control.token_requests() == 2
