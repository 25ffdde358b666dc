"""``sinew auth``: a login, a request to try, what is known of a token, and its end. Never a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.shop.authserver import AuthServer
from sinew.cli import main
from tests.fix_auth import Api, extra_of
from tests.test_apis import give, give_store, shop_api
from tests.test_auth_grants import consenting

PROJECT = Path(__file__).resolve().parents[1]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command; gives exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(("auth", *words))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, home_db: str, fernet_key: str) -> None:
    """The store of tokens, as variables."""
    give_store(monkeypatch, home_db, fernet_key)


@pytest.fixture
def machine(
    monkeypatch: pytest.MonkeyPatch, auth_server: AuthServer, guarded_api: Api, store: None
) -> Api:
    """Connection shop_api with client credentials, and its API."""
    shop_api(monkeypatch, auth_server, guarded_api.url)
    return guarded_api


@pytest.fixture
def person(
    monkeypatch: pytest.MonkeyPatch, auth_server: AuthServer, guarded_api: Api, store: None
) -> Api:
    """Connection shop_api with an authorization code, and its API."""
    by_person(monkeypatch, auth_server, guarded_api, "authorization_code")
    return guarded_api


def by_person(
    monkeypatch: pytest.MonkeyPatch, server: AuthServer, api: Api, grant: str, **auth: Any
) -> None:
    scope = "openid offline_access orders:read"
    extra = extra_of(server, server.clients["none"], grant, scope=scope, **auth)
    give(monkeypatch, "shop_api", host=api.url, extra=extra)


def line(out: str, head: str) -> str:
    """What stands in the line that begins so."""
    (found,) = [text for text in out.splitlines() if text.strip().startswith(head)]
    return found.strip().removeprefix(head).strip()


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, without Airflow's start."""
    paths = os.pathsep.join(str(PROJECT / folder) for folder in ("plugins", "include"))
    code = (
        "import sys, sinew.cli; code = sinew.cli.main(sys.argv[1:]);"
        "print('airflow' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "auth", *words],
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class TestLogin:
    def test_a_browser_brings_a_token_that_is_used_and_renewed(
        self,
        typed: Typed,
        monkeypatch: pytest.MonkeyPatch,
        person: Api,
        auth_server: AuthServer,
    ) -> None:
        monkeypatch.setattr("webbrowser.open", consenting(auth_server))
        code, out, err = typed("login", "shop_api")
        assert (code, err) == (0, "")
        assert f"{auth_server.issuer}/authorize?" in out and "code_challenge_method=S256" in out
        assert line(out, "token") == "alive"
        assert line(out, "renewal") == "by itself"
        assert line(out, "claim     sub") == '= "ada"'
        assert typed("test", "shop_api")[0] == 0
        auth_server.control.forget_access_tokens()
        assert typed("test", "shop_api")[0] == 0

    def test_before_it_a_request_says_how_to_log_in(self, typed: Typed, person: Api) -> None:
        code, out, err = typed("test", "shop_api")
        assert (code, out) == (2, "")
        assert "nobody logged in yet" in err and "`sinew auth login shop_api`" in err

    def test_the_browser_may_be_on_another_machine(
        self, person: Api, auth_server: AuthServer
    ) -> None:
        auth_server.control.auto_consent = True
        with program("login", "shop_api", "--paste") as process:
            assert process.stdout is not None
            url = next(text.strip() for text in process.stdout if "/authorize?" in text)
            # Nobody listens where the browser is sent to: its address bar is all there is.
            answer = requests.get(url, allow_redirects=False, timeout=10)
            out, err = process.communicate(answer.headers["Location"] + "\n", timeout=60)
        assert (process.returncode, err.strip()) == (0, "False")
        assert line(out, "token") == "alive"

    def test_what_is_pasted_must_be_the_answer_to_this_login(self, person: Api) -> None:
        with program("login", "shop_api", "--paste") as process:
            _, err = process.communicate(
                "http://127.0.0.1/callback?state=other&code=c\n", timeout=60
            )
        assert process.returncode == 2
        assert "paste the whole URL" in err

    def test_a_device_shows_a_code(
        self,
        monkeypatch: pytest.MonkeyPatch,
        auth_server: AuthServer,
        guarded_api: Api,
        store: None,
    ) -> None:
        auth_server.settings.device_interval = 0.05  # type: ignore[assignment]
        by_person(monkeypatch, auth_server, guarded_api, "device_code")
        with program("login", "shop_api", "--device") as process:
            assert process.stdout is not None
            texts = iter(process.stdout)
            assert next(text for text in texts if text.startswith(f"Open {auth_server.issuer}"))
            code = next(text.strip() for text in texts if text.startswith("  "))
            assert auth_server.control.approve_device(code)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err.strip()) == (0, "False")
        assert line(out, "token") == "alive"

    def test_device_is_refused_where_the_connection_says_otherwise(
        self, typed: Typed, person: Api
    ) -> None:
        code, _, err = typed("login", "shop_api", "--device")
        assert code == 2 and "allowed: grant device_code" in err

    def test_a_grant_that_needs_no_login_says_so(self, typed: Typed, machine: Api) -> None:
        code, _, err = typed("login", "shop_api")
        assert code == 2 and "needs no login" in err


class TestTrying:
    def test_it_tells_what_was_sent_and_got(
        self, typed: Typed, machine: Api, auth_server: AuthServer
    ) -> None:
        code, out, err = typed("test", "shop_api", "--path", "/orders?page=1")
        assert (code, err) == (0, "")
        assert out.startswith(f"GET {machine.url}/orders\n")
        assert "client_secret_basic" in line(out, "sent") and auth_server.issuer in line(
            out, "sent"
        )
        assert "Authorization" in line(out, "headers")
        assert line(out, "answered").startswith("200 OK in ")
        assert line(out, "scopes") == "orders:read"
        assert "The API took the proof." in out
        assert len(machine.requests) == 1 and machine.requests[0].path == "/orders?page=1"

    @pytest.mark.parametrize(
        ("status", "code", "word"),
        [
            (200, 0, "The API took the proof"),
            (401, 2, "The API refuses an API key"),
            (403, 2, "does not allow this"),
            (404, 0, "the path does not exist"),
            (503, 75, "is not well"),
        ],
    )
    def test_the_exit_code_says_what_the_api_thinks(
        self,
        typed: Typed,
        monkeypatch: pytest.MonkeyPatch,
        api: Api,
        status: int,
        code: int,
        word: str,
    ) -> None:
        give(
            monkeypatch,
            "shop_api",
            host=api.url,
            password="pw",
            extra={"auth": {"type": "api_key"}},
        )
        api.respond = lambda request: (status, {}, b"")
        found, out, err = typed("test", "shop_api")
        assert (found, err) == (code, "") and word in out

    def test_a_server_that_is_down_may_be_up_later(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(monkeypatch, "shop_api", host="http://127.0.0.1:9")
        code, out, err = typed("test", "shop_api")
        assert (code, out) == (75, "") and "127.0.0.1:9" in err

    def test_a_wrong_secret_says_what_to_correct(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch, machine: Api, auth_server: AuthServer
    ) -> None:
        client = auth_server.clients["client_secret_basic"]
        extra = extra_of(auth_server, client, "client_credentials", client_secret="not-the-secret")
        give(monkeypatch, "shop_api", host=machine.url, extra=extra)
        code, out, err = typed("test", "shop_api")
        assert (code, out) == (2, "")
        assert "correct client_id (login) and client_secret (password)" in err
        assert "not-the-secret" not in err

    def test_everything_that_is_wrong_with_a_connection_is_told_at_once(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        extra = {"auth": {"type": "oauth2", "grant": "client_credential"}, "tsl": {}}
        give(monkeypatch, "shop_api", host="ftp://x", extra=extra | {"tsl": {"a": 1}})
        code, _, err = typed("test", "shop_api")
        assert code == 2
        assert all(
            word in err for word in ("client_credential'", "auth.token_endpoint", "tsl", "ftp")
        )


class TestShowing:
    def test_a_token_is_described_without_being_shown(
        self, typed: Typed, machine: Api, auth_server: AuthServer
    ) -> None:
        assert typed("show", "shop_api")[:2] == (0, "token     none is stored\n")
        typed("test", "shop_api")
        code, out, err = typed("show", "shop_api")
        assert (code, err) == (0, "")
        assert line(out, "token") == "alive"
        assert line(out, "scopes") == "orders:read"
        assert re.fullmatch(r"20[-0-9]{8} [:0-9]{8}\+00:00, in [\d,]+ s", line(out, "expires"))
        assert "aud" in out and "iss" in out
        assert machine.tokens[0] not in out

    def test_as_json(self, typed: Typed, machine: Api) -> None:
        typed("test", "shop_api")
        found = json.loads(typed("show", "shop_api", "--json")[1])
        assert found["state"] == "alive" and found["scopes"] == ["orders:read"]
        assert machine.tokens[0] not in json.dumps(found)

    def test_no_server_is_asked(self, typed: Typed, machine: Api, auth_server: AuthServer) -> None:
        typed("show", "shop_api")
        assert machine.requests == [] and auth_server.control.token_requests() == 0

    def test_a_connection_without_oauth_has_none(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(monkeypatch, "shop_api", host="http://127.0.0.1:9")
        code, _, err = typed("show", "shop_api")
        assert code == 2 and "this needs oauth2" in err


class TestLogout:
    def test_the_server_revokes_and_nothing_is_left(
        self,
        typed: Typed,
        monkeypatch: pytest.MonkeyPatch,
        person: Api,
        auth_server: AuthServer,
    ) -> None:
        monkeypatch.setattr("webbrowser.open", consenting(auth_server))
        typed("login", "shop_api")
        typed("test", "shop_api")
        code, out, _ = typed("logout", "shop_api")
        assert code == 0 and "revoked the refresh token and access token" in out
        assert auth_server.introspect(person.tokens[0])["active"] is False
        assert "none is stored" in typed("show", "shop_api")[1]
        assert typed("logout", "shop_api")[:2] == (0, "There was no token.\n")

    def test_a_server_that_is_down_leaves_the_token_where_it_is(
        self, typed: Typed, machine: Api, auth_server: AuthServer
    ) -> None:
        typed("test", "shop_api")
        auth_server.control.fail_next(9, endpoint="revocation")
        code, _, err = typed("logout", "shop_api")
        assert code == 75 and "503" in err
        assert "alive" in typed("show", "shop_api")[1]


def test_what_was_done_with_the_command_line_serves_a_session(
    typed: Typed, machine: Api, auth_server: AuthServer
) -> None:
    from sinew.hooks.apis import api_opener

    typed("test", "shop_api")
    with api_opener("shop_api")() as session:
        session.get("/orders")
    assert auth_server.control.token_requests() == 1
