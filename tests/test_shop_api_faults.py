"""The demo shop misbehaves as asked: faults, limits, credentials that expire; and it counts all of it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from fastapi import Request

from demo.shop.api import (
    Faults,
    Forbidden,
    Limit,
    ShopServer,
    Unauthorized,
    api_key,
    in_thread,
)
from demo.shop.api.chance import Chance
from demo.shop.api.limiter import Limiter
from demo.shop.serve import TlsSettings, peer_certificate


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def seen(session: requests.Session, url: str) -> str:
    """What a request meets, as a client can tell it."""
    try:
        response = session.get(url, timeout=30)
    except requests.exceptions.ChunkedEncodingError:
        return "cut"
    except requests.ConnectionError:
        return "dropped"
    if "html" in response.headers["Content-Type"]:
        return f"html {response.status_code}"
    try:
        response.json()
    except ValueError:
        return f"no json {response.status_code}"
    return str(response.status_code)


class TestFaults:
    @pytest.mark.parametrize(
        ("kind", "shows"),
        [
            ("server_error", "500"),
            ("bad_gateway", "502"),
            ("unavailable", "503"),
            ("html_error", "html 502"),
            ("html_page", "html 200"),
            ("drop_before", "dropped"),
            ("error_after", "500"),
            ("drop_after", "dropped"),
            ("half_body", "cut"),
            ("wrong_json", "no json 200"),
        ],
    )
    @pytest.mark.parametrize("coding", ["gzip", "identity"])
    def test_each_shows_once_and_then_all_is_well(
        self, shop_api: ShopServer, session: requests.Session, kind: str, shows: str, coding: str
    ) -> None:
        session.headers["Accept-Encoding"] = coding
        shop_api.control.fail_next(kind)
        url = f"{shop_api.url}/orders?limit=20"
        assert [seen(session, url) for _ in range(3)] == [shows, "200", "200"]
        assert shop_api.control.counters.faults == {kind: 1}

    def test_an_unavailable_server_says_when_to_come_back(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        shop_api.control.fail_next("unavailable")
        assert session.get(f"{shop_api.url}/orders").headers["Retry-After"] == "1"

    def test_a_slow_answer_outlasts_a_client_s_patience(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        shop_api.control.set({"faults": Faults(slow_seconds=0.5)})
        shop_api.control.fail_next("slow")
        with pytest.raises(requests.ReadTimeout):
            session.get(f"{shop_api.url}/orders", timeout=0.1)

    def test_faults_strike_only_where_they_were_aimed(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        shop_api.control.fail_next("server_error", 2, path="/customers", skip=1)
        for path, statuses in (("orders", "200"), ("customers", "200 500 500 200")):
            answers = [
                session.get(f"{shop_api.url}/{path}").status_code
                for _ in range(len(statuses.split()))
            ]
            assert answers == [int(status) for status in statuses.split()]

    def test_the_same_seed_strikes_the_same_requests_in_whatever_order_they_come(
        self, shop_api: ShopServer
    ) -> None:
        urls = [f"{shop_api.url}/orders/{number}" for number in range(1, 201)]

        def struck(order: list[str]) -> set[str]:
            shop_api.control.reset()
            shop_api.control.set({"faults": Faults(server_error=0.1, drop_before=0.1)})
            with ThreadPoolExecutor(4) as pool, requests.Session() as session:
                met = pool.map(lambda url: (url, seen(session, url)), order)
                return {url for url, what in met if what != "200"}

        first = struck(urls)
        assert first == struck(urls[::-1])
        assert 20 <= len(first) <= 60  # 40 of 200 are expected

    def test_a_repeated_request_has_a_fate_of_its_own_each_time(self) -> None:
        chance, faults = Chance(), Faults(server_error=0.5)
        fates = [chance.draw(faults, "GET", "/orders", b"one").kind for _ in range(200)]
        assert 60 <= fates.count("server_error") <= 140

    def test_failures_in_a_row_can_be_bounded(self) -> None:
        chance, faults = Chance(), Faults(server_error=1, in_a_row=2)
        fates = [chance.draw(faults, "GET", "/orders", b"one").kind for _ in range(6)]
        assert fates == ["server_error", "server_error", None] * 2

    def test_shares_beyond_one_are_refused(self) -> None:
        with pytest.raises(ValueError, match="add up to 1.5"):
            Faults(server_error=0.75, drop_after=0.75)


class TestLimits:
    def exhausted(
        self, shop_api: ShopServer, session: requests.Session, **more: Any
    ) -> tuple[list[int], requests.Response]:
        shop_api.control.set({"limit": {"per_second": 0.01, "burst": 3, **more}})
        responses = [session.get(f"{shop_api.url}/orders/1") for _ in range(4)]
        return [response.status_code for response in responses], responses[-1]

    def test_requests_beyond_the_burst_are_told_to_wait(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        statuses, last = self.exhausted(shop_api, session)
        assert statuses == [200, 200, 200, 429]
        assert 90 <= int(last.headers["Retry-After"]) <= 100
        assert last.headers["X-RateLimit-Limit"] == "3"
        assert last.headers["X-RateLimit-Remaining"] == "0"
        assert last.headers["RateLimit-Policy"] == '"default";q=3;w=300'
        assert last.headers["RateLimit"].startswith('"default";r=0;t=')

    def test_the_wait_can_be_a_date_and_the_status_503(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        statuses, last = self.exhausted(shop_api, session, status=503, retry_after="date")
        assert statuses[-1] == 503
        until = parsedate_to_datetime(last.headers["Retry-After"])
        wait = until - parsedate_to_datetime(last.headers["Date"])
        assert 80 <= wait.total_seconds() <= 110

    def test_the_headers_can_be_the_older_ones_or_none(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        _, last = self.exhausted(shop_api, session, headers=["ietf-07"], retry_after="none")
        assert last.headers["RateLimit-Remaining"] == "0"
        assert not {"X-RateLimit-Limit", "RateLimit", "Retry-After"} & set(last.headers)

    def test_each_client_has_a_bucket_of_its_own(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        self.exhausted(shop_api, session)
        other = {"Authorization": "Bearer another"}
        assert session.get(f"{shop_api.url}/orders/1", headers=other).status_code == 200

    def test_a_bucket_fills_at_the_rate_and_no_further_than_its_size(self) -> None:
        at = [0.0]
        limiter, limit = Limiter(clock=lambda: at[0]), Limit(per_second=10, burst=5)

        def taken(seconds: float) -> int:
            at[0] += seconds
            return sum(limiter.take("one", limit).admitted for _ in range(20))

        assert [taken(0), taken(0.31), taken(0.4), taken(0), taken(60)] == [5, 3, 4, 0, 5]


class TestCounters:
    def test_requests_are_counted_by_path_and_status(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        shop_api.control.fail_next("drop_before", path="/orders/2")
        for number in (1, 2, 3, 99999):
            seen(session, f"{shop_api.url}/orders/{number}")
        seen(session, f"{shop_api.url}/orders/1/lines")
        counters = shop_api.control.counters
        counted = {s: counters.count("/orders/{id}", status=s) for s in (200, 404, 0)}
        assert counted == {200: 2, 404: 1, 0: 1}
        assert counters.count("/orders/{id}/lines") == 1
        assert sum(counters.admitted.values()) == counters.count(method="GET") == 5
        assert counters.in_flight == 0

    def test_the_most_at_once_are_counted(self, shop_api: ShopServer) -> None:
        # Nobody passes before all six are inside.
        together = threading.Barrier(6, timeout=30)
        verify = in_thread(lambda request: together.wait())
        with ShopServer(shop_api.store, verify=verify) as server, ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: requests.get(f"{server.url}/orders/{n}"), range(1, 7)))
            assert (server.control.counters.peak, server.control.counters.in_flight) == (6, 0)


class TestCredentials:
    @pytest.mark.parametrize("place", ["header", "query", "cookie"])
    def test_a_static_key_lets_in_who_has_it(
        self, shop_api: ShopServer, session: requests.Session, place: Any
    ) -> None:
        where = {"header": "headers", "query": "params", "cookie": "cookies"}[place]
        verify = api_key("right", place=place, name="api_key")
        with ShopServer(shop_api.store, verify=verify) as server:

            def status(**sent: Any) -> tuple[int, str | None]:
                response = session.get(f"{server.url}/orders", **sent)
                session.cookies.clear()
                return response.status_code, response.headers.get("WWW-Authenticate")

            assert status(**{where: {"api_key": "right"}}) == (200, None)
            code, challenge = status(**{where: {"api_key": "wrong"}})
            assert code == 401 and challenge and 'error="invalid_key"' in challenge
            assert status()[0] == 401
            assert server.control.counters.unauthorized == {"invalid_key": 1, "unauthenticated": 1}

    @pytest.mark.parametrize("wrap", [lambda verify: verify, in_thread])
    def test_a_verifier_of_the_caller_decides_with_401_or_403(
        self, shop_api: ShopServer, session: requests.Session, wrap: Any
    ) -> None:
        def verify(request: Request) -> str:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in ("reader", "writer"):
                raise Unauthorized("invalid_token", "nobody knows this token")
            if request.method != "GET" and token != "writer":
                raise Forbidden("writing needs another token", scope="contacts:write")
            return token

        with ShopServer(shop_api.store, verify=wrap(verify)) as server:

            def ask(method: str, token: str) -> requests.Response:
                headers = {"Authorization": f"Bearer {token}"}
                return session.request(method, f"{server.url}/contacts", headers=headers)

            assert ask("GET", "reader").status_code == 200
            unknown, narrow = ask("GET", "x"), ask("POST", "reader")
            assert (unknown.status_code, narrow.status_code) == (401, 403)
            challenge = unknown.headers["WWW-Authenticate"]
            assert challenge.startswith("Bearer ") and 'error="invalid_token"' in challenge
            assert 'scope="contacts:write"' in narrow.headers["WWW-Authenticate"]

    def test_tokens_can_be_made_to_expire_and_new_ones_are_good(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return session.get(f"{shop_api.url}/orders", headers=headers).status_code

        assert status("old") == 200
        assert shop_api.control.expire_tokens() == 1
        assert [status("old"), status("new"), status("old")] == [401, 200, 401]
        assert shop_api.control.counters.unauthorized == {"invalid_token": 2}

    @pytest.mark.parametrize("form", ["files", "context"])
    def test_client_certificates_reach_the_verifier(
        self, shop_api: ShopServer, session: requests.Session, tmp_path: Path, form: str
    ) -> None:
        # The environment may name other authorities, which requests would prefer.
        session.trust_env = False
        session.verify = str(tmp_path / "ca.pem")
        shown: list[bytes | None] = []
        with ShopServer(
            shop_api.store,
            tls=tls_of(tmp_path, form),
            verify=lambda request: shown.append(peer_certificate(request.scope)),
        ) as server:
            assert server.url.startswith("https://")
            session.get(f"{server.url}/orders")
            session.close()
            session.get(f"{server.url}/orders", cert=str(tmp_path / "client.pem"))
            server.control.fail_next("drop_before")
            assert seen(session, f"{server.url}/orders") == "dropped"
        assert shown[0] is None and shown[1]

    def test_a_certificate_that_is_none_is_the_caller_s_exception(
        self, shop_api: ShopServer, tmp_path: Path
    ) -> None:
        (tmp_path / "server.pem").write_text("nothing")
        tls = TlsSettings(tmp_path / "server.pem", tmp_path / "server.pem")
        with pytest.raises(ssl.SSLError):
            ShopServer(shop_api.store, tls=tls).start()


def tls_of(folder: Path, form: str) -> TlsSettings | ssl.SSLContext:
    """A server's certificate, a client's, and their authority below a folder."""
    ca = trustme.CA()
    for name, made in (("server", ca.issue_cert("127.0.0.1")), ("client", ca.issue_cert("a@b"))):
        made.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    if form == "files":
        return TlsSettings(folder / "server.pem", folder / "server.pem", None, folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


class TestControlByHttp:
    def test_it_sets_shows_and_resets(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        url = f"{shop_api.url}/control"
        sent = {"faults": {"server_error": 1.0}, "limit": {"per_second": 1000, "headers": ["x"]}}
        assert session.put(url, json=sent).status_code == 200
        assert shop_api.control.faults.server_error == 1.0
        assert session.get(f"{shop_api.url}/orders").status_code == 500
        state = session.get(url).json()
        assert state["settings"]["limit"]["headers"] == ["x"]
        assert state["counters"]["requests"] == [
            {"method": "GET", "path": "/orders", "status": 500, "count": 1}
        ]
        session.post(f"{url}/reset")
        assert session.get(f"{shop_api.url}/orders").status_code == 200

    def test_it_orders_faults_and_expires_tokens(
        self, shop_api: ShopServer, session: requests.Session
    ) -> None:
        url = f"{shop_api.url}/control"
        session.post(f"{url}/fail-next", json={"kind": "bad_gateway", "path": "/products"})
        assert session.get(f"{shop_api.url}/products").status_code == 502
        session.headers["Authorization"] = "Bearer one"
        session.get(f"{shop_api.url}/products")
        # The request above it came without a token and failed after it was let in.
        assert session.post(f"{url}/expire-tokens").json() == {"expired": 2}
        assert session.get(f"{shop_api.url}/products").status_code == 401

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("", {"fault": {}}),
            ("", {"faults": {"server_error": 2}}),
            ("", {"limit": {"per_secnd": 1}}),
            ("/fail-next", {"kind": "explode"}),
            ("/fail-next", {"sort": "slow"}),
        ],
    )
    def test_what_it_does_not_know_is_refused(
        self, shop_api: ShopServer, session: requests.Session, path: str, body: Any
    ) -> None:
        method = "POST" if path else "PUT"
        before = json.dumps(shop_api.control.settings())
        response = session.request(method, f"{shop_api.url}/control{path}", json=body)
        assert response.status_code == 422
        assert json.dumps(shop_api.control.settings()) == before
