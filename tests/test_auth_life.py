"""A token's life: got once, renewed by one, stored before it is used, ended with words that help."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from demo.shop.authserver import AuthServer
from sinew.auth.answers import Answer
from sinew.auth.life import TokenSource
from sinew.auth.postgres_store import PostgresTokenStore
from sinew.auth.received import received
from sinew.auth.server import AuthorizationServer
from sinew.auth.session import open_session
from sinew.auth.store import MemoryTokenStore, StoredToken
from sinew.errors import (
    LoginNeededError,
    RetriableError,
    TokenRefusedError,
)
from tests.fix_auth import Api, client_endpoint

pytestmark = pytest.mark.usefixtures("quick_retries")

BASIC = "client_secret_basic"


def shifted(home: str, seconds: float) -> None:
    """Let every stored token be older by so many seconds."""
    with psycopg.connect(home) as conn:
        conn.execute(
            "UPDATE sinew_auth.token SET saved_at = saved_at - make_interval(secs => %s)",
            (seconds,),
        )


def refreshing(server: AuthServer, **auth: object) -> tuple[object, str]:
    token = server.issue_refresh_token(BASIC)
    return client_endpoint(server, BASIC, "refresh_token", refresh_token=token, **auth), token


class TestOneTokenForAll:
    def test_sessions_and_sources_share_one_request(
        self, auth_server: AuthServer, guarded_api: Api, tokens: PostgresTokenStore
    ) -> None:
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        for _ in range(3):
            open_session(end, tokens).get("/orders")
        assert len(set(guarded_api.tokens)) == 1
        assert auth_server.control.token_requests() == 1

    def test_threads_at_once_share_one_request(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end = client_endpoint(auth_server, BASIC)
        with ThreadPoolExecutor(12) as pool:
            got = list(pool.map(lambda _: TokenSource(end, tokens).current(), range(24)))
        assert len(set(got)) == 1
        assert auth_server.control.token_requests() == 1

    def test_a_store_in_memory_does_it_among_threads_too(self, auth_server: AuthServer) -> None:
        end, store = client_endpoint(auth_server, BASIC), MemoryTokenStore()
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: TokenSource(end, store).current(), range(16)))
        assert len(set(got)) == 1
        assert auth_server.control.token_requests() == 1

    @pytest.mark.parametrize("whose", ["subject_token", "actor_token"])
    def test_an_exchange_for_another_token_is_another_token(
        self, whose: str, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        given = [
            TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()
            for _ in range(3)
        ]

        def exchanged(**auth: str) -> str:
            end = client_endpoint(auth_server, BASIC, "token_exchange", **auth)
            return TokenSource(end, tokens).current()

        both = {"subject_token": given[0], "actor_token": given[1]}
        first = exchanged(**both)
        assert exchanged(**both) == first
        assert exchanged(**both | {whose: given[2]}) != first

    def test_so_is_one_for_a_token_in_another_file(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, tmp_path: Path
    ) -> None:
        got = []
        for name in ("ada", "bob", "bob"):
            source = TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore())
            (tmp_path / name).write_text(source.current())
            end = client_endpoint(
                auth_server, BASIC, "token_exchange", subject_token=str(tmp_path / name)
            )
            got.append(TokenSource(end, tokens).current())
        assert got[0] != got[1] and got[1] == got[2]

    def test_another_scope_is_another_token(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        one = TokenSource(client_endpoint(auth_server, BASIC), tokens).current()
        two = TokenSource(
            client_endpoint(auth_server, BASIC, scope="products:read"), tokens
        ).current()
        assert auth_server.introspect(one)["scope"] == "orders:read"
        assert auth_server.introspect(two)["scope"] == "products:read"


class TestRenewalAheadOfExpiry:
    @pytest.mark.parametrize(("age", "renewed"), [(260, False), (275, True), (400, True)])
    def test_it_begins_a_tenth_of_the_life_before_the_end(
        self,
        age: int,
        renewed: bool,
        auth_server: AuthServer,
        tokens: PostgresTokenStore,
        token_db: str,
    ) -> None:
        end = client_endpoint(auth_server, BASIC)
        first = TokenSource(end, tokens).current()
        shifted(token_db, age)
        assert (TokenSource(end, tokens).current() != first) == renewed

    def test_the_leeway_can_be_set(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        end = client_endpoint(auth_server, BASIC, leeway=100)
        first = TokenSource(end, tokens).current()
        shifted(token_db, 190)
        assert TokenSource(end, tokens).current() == first
        shifted(token_db, 20)
        assert TokenSource(end, tokens).current() != first

    def test_a_worker_whose_clock_is_off_renews_no_sooner(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end = client_endpoint(auth_server, BASIC)
        first = TokenSource(end, tokens).current()
        now = time.time
        for off in (-36_000, 36_000):
            monkeypatch.setattr(time, "time", lambda off=off: now() + off)
            assert TokenSource(end, tokens).current() == first
        assert auth_server.control.token_requests() == 1

    def test_a_server_that_is_away_meanwhile_does_no_harm(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        end = client_endpoint(auth_server, BASIC)
        first = TokenSource(end, tokens).current()
        shifted(token_db, 280)
        auth_server.control.fail_next(20, "throttled", retry_after=600)
        assert TokenSource(end, tokens).current() == first
        shifted(token_db, 20)
        with pytest.raises(RetriableError):
            TokenSource(end, tokens).current()

    def test_a_token_without_expires_in_is_used_until_a_401(
        self, auth_server: AuthServer, guarded_api: Api, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        auth_server.control.omit_expires_in = True
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        open_session(end, tokens).get("/")
        shifted(token_db, 1_000_000)
        open_session(end, tokens).get("/")
        assert auth_server.control.token_requests() == 1
        auth_server.control.forget_access_tokens()
        assert open_session(end, tokens).get("/").status_code == 200
        assert auth_server.control.token_requests() == 2


class TestA401:
    def test_renews_once_and_retries_once(
        self, auth_server: AuthServer, guarded_api: Api, tokens: PostgresTokenStore
    ) -> None:
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        session = open_session(end, tokens)
        session.get("/orders")
        auth_server.control.forget_access_tokens()
        assert session.post("/orders", json={"a": 1}).status_code == 200
        assert [request.body for request in guarded_api.requests] == [b"", b'{"a": 1}', b'{"a": 1}']
        assert auth_server.control.token_requests() == 2

    def test_that_stays_is_handed_to_the_caller(
        self, auth_server: AuthServer, api: Api, tokens: PostgresTokenStore
    ) -> None:
        api.respond = lambda request: (401, {}, b"{}")
        end = client_endpoint(auth_server, BASIC, url=api.url)
        assert open_session(end, tokens).get("/").status_code == 401
        assert len(set(api.tokens)) == len(api.tokens) == 2

    def test_takes_what_another_process_renewed_meanwhile(
        self, auth_server: AuthServer, guarded_api: Api, tokens: PostgresTokenStore
    ) -> None:
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        one, other = open_session(end, tokens), open_session(end, tokens)
        one.get("/"), other.get("/")
        auth_server.control.forget_access_tokens()
        assert one.get("/").status_code == other.get("/").status_code == 200
        assert auth_server.control.token_requests() == 2

    def test_is_not_retried_with_a_body_that_is_gone(
        self, auth_server: AuthServer, guarded_api: Api, tokens: PostgresTokenStore
    ) -> None:
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        session = open_session(end, tokens)
        session.get("/")
        auth_server.control.forget_access_tokens()
        assert session.post("/", data=iter([b"once"])).status_code == 401
        assert len(guarded_api.requests) == 2

    def test_sends_a_file_again_from_where_it_began(
        self,
        auth_server: AuthServer,
        guarded_api: Api,
        tokens: PostgresTokenStore,
        tmp_path: object,
    ) -> None:
        file = tmp_path / "rows"  # type: ignore[operator]
        file.write_bytes(b"head body")
        end = client_endpoint(auth_server, BASIC, url=guarded_api.url)
        session = open_session(end, tokens)
        session.get("/")
        auth_server.control.forget_access_tokens()
        with file.open("rb") as rows:
            rows.seek(5)
            assert session.post("/", data=rows).status_code == 200
        assert [request.body for request in guarded_api.requests[1:]] == [b"body", b"body"]


class TestARotatedRefreshToken:
    def test_is_committed_before_its_access_token_is_used(
        self, auth_server: AuthServer, guarded_api: Api, tokens: PostgresTokenStore
    ) -> None:
        auth = refreshing(auth_server)[0].auth  # type: ignore[attr-defined]
        end = client_endpoint(
            auth_server,
            BASIC,
            "refresh_token",
            url=guarded_api.url,
            refresh_token=auth.refresh_token.get_secret_value(),
        )
        seen = []
        respond = guarded_api.respond

        def look(request: object) -> object:
            seen.append((request.token, tokens.peek(end.slot)))  # type: ignore[attr-defined]
            return respond(request)  # type: ignore[arg-type]

        guarded_api.respond = look  # type: ignore[assignment]
        session = open_session(end, tokens)
        for _ in range(3):
            session.get("/")
            auth_server.control.forget_access_tokens()
        assert len(seen) == 5
        for token, stored in (seen[0], seen[2], seen[4]):
            assert stored is not None and stored.access_token == token

    def test_is_used_once_each(self, auth_server: AuthServer, tokens: PostgresTokenStore) -> None:
        end, first = refreshing(auth_server)
        source, used = TokenSource(end, tokens), {first}  # type: ignore[arg-type]
        token = source.current()
        for _ in range(5):
            token = source.renewed(token)
            stored = tokens.peek(end.slot)  # type: ignore[attr-defined]
            assert stored is not None and stored.refresh_token not in used
            used.add(stored.refresh_token or "")
        assert auth_server.control.families_revoked == 0

    def test_stays_when_the_server_gives_no_new_one(self, auth_server: AuthServer) -> None:
        server = AuthorizationServer(
            client_endpoint(auth_server, BASIC, "refresh_token", refresh_token="r")
        )
        before = StoredToken(access_token="a", refresh_token="old", scope="s", id_token="i")
        answer = Answer(200, {"access_token": "b", "token_type": "bearer"}, None)
        after = received(server, answer, sent_at=time.monotonic(), before=before)
        assert (after.refresh_token, after.scope, after.id_token) == ("old", "s", "i")

    @pytest.mark.parametrize("kind", ["unavailable", "drop", "wrong_json", "html", "no_token"])
    def test_outlives_a_failed_refresh(
        self, kind: str, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end, _ = refreshing(auth_server)
        source = TokenSource(end, tokens)  # type: ignore[arg-type]
        token = source.current()
        before = tokens.peek(end.slot)  # type: ignore[attr-defined]
        auth_server.control.fail_next(3, kind)
        with pytest.raises(RetriableError):
            source.renewed(token)
        after = tokens.peek(end.slot)  # type: ignore[attr-defined]
        assert before is not None and after is not None
        assert after.refresh_token == before.refresh_token
        assert source.renewed(token) != token

    def test_outlives_a_client_that_is_refused(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end, first = refreshing(auth_server)
        token = TokenSource(end, tokens).current()  # type: ignore[arg-type]
        wrong = client_endpoint(
            auth_server, BASIC, "refresh_token", refresh_token=first, client_secret="wrong"
        )
        with pytest.raises(TokenRefusedError) as raised:
            TokenSource(wrong, tokens).renewed(token)
        assert raised.value.code == "invalid_client"
        assert TokenSource(end, tokens).renewed(token) != token  # type: ignore[arg-type]

    def test_whose_answer_was_lost_is_saved_by_the_overlap(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        auth_server.settings.refresh_overlap = 60.0
        end, _ = refreshing(auth_server)
        source = TokenSource(end, tokens)  # type: ignore[arg-type]
        token = source.current()
        auth_server.control.fail_next(1, "drop_after")
        assert source.renewed(token) != token
        assert auth_server.control.families_revoked == 0

    def test_whose_answer_was_lost_for_good_ends_in_a_clear_message(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end, _ = refreshing(auth_server)
        source = TokenSource(end, tokens)  # type: ignore[arg-type]
        token = source.current()
        auth_server.control.fail_next(1, "drop_after")
        with pytest.raises(
            LoginNeededError, match="put a new refresh_token into connection 'shop_api'"
        ):
            source.renewed(token)

    def test_that_is_refused_is_not_tried_by_a_thousand_tasks(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end = client_endpoint(auth_server, BASIC, "refresh_token", refresh_token="nonsense")
        for _ in range(4):
            with pytest.raises(LoginNeededError):
                TokenSource(end, tokens).current()
        assert auth_server.control.token_requests() == 1

    def test_that_a_person_replaced_starts_a_new_family(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        dead = client_endpoint(auth_server, BASIC, "refresh_token", refresh_token="nonsense")
        with pytest.raises(LoginNeededError):
            TokenSource(dead, tokens).current()
        end, _ = refreshing(auth_server)
        assert end.slot == dead.slot  # type: ignore[attr-defined]
        assert TokenSource(end, tokens).current()  # type: ignore[arg-type]


class TestWithoutAToken:
    @pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
    def test_a_person_is_told_which_command_logs_in(
        self, grant: str, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        with pytest.raises(LoginNeededError, match="`sinew auth login shop_api`"):
            TokenSource(client_endpoint(auth_server, BASIC, grant), tokens).current()
        assert auth_server.control.token_requests() == 0


class TestQuickRetries:
    @pytest.mark.parametrize("kind", ["unavailable", "drop", "wrong_json", "html", "no_token"])
    def test_a_passing_fault_is_not_noticed(
        self, kind: str, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        auth_server.control.fail_next(1, kind)
        assert TokenSource(client_endpoint(auth_server, BASIC), tokens).current()

    @pytest.mark.parametrize("as_date", [False, True])
    def test_retry_after_is_obeyed_in_both_forms(
        self, as_date: bool, auth_server: AuthServer
    ) -> None:
        auth_server.control.fail_next(1, "throttled", retry_after=2, as_date=as_date)
        began = time.monotonic()
        TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()
        # An HTTP date has whole seconds only.
        assert time.monotonic() - began >= (1.0 if as_date else 2.0)

    def test_a_long_wait_is_left_to_the_scheduler(self, auth_server: AuthServer) -> None:
        auth_server.control.fail_next(1, "throttled", retry_after=3600)
        with pytest.raises(RetriableError, match="asked to wait 3600 s"):
            TokenSource(client_endpoint(auth_server, BASIC), MemoryTokenStore()).current()
        assert auth_server.control.token_requests() == 1

    def test_a_refusal_is_not_tried_again(self, auth_server: AuthServer) -> None:
        with pytest.raises(TokenRefusedError):
            TokenSource(
                client_endpoint(auth_server, BASIC, client_secret="wrong"), MemoryTokenStore()
            ).current()
        assert auth_server.control.token_requests() == 1
