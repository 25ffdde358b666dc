"""Transport: one request until there is an answer; what is sent again, when, and what an error says."""

from __future__ import annotations

import gzip
import pickle
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sinew.api.pace import Pace
from sinew.api.transport import Answer, Call, Policy, policy_of, send
from sinew.errors import (
    ApiAccessError,
    ApiRefusedError,
    BrokenAnswerError,
    InterruptedStepError,
    OutcomeUnknownError,
    RetriableError,
    ThrottledError,
    UnavailableError,
)
from sinew.spec.exchange import Limits, Retry, Timeouts
from sinew.spec.resources import Resource
from tests.kit_api import QUICK, ApiSession, Asked, Reply, serving

RETRY = Retry.model_validate(QUICK)


def policy(**kwargs: Any) -> Policy:
    return Policy(retry=RETRY, **kwargs)


def call(method: str = "GET", *, repeatable: bool = True, **kwargs: Any) -> Call:
    return Call(method, "/things", f"{method} /things", repeatable=repeatable, **kwargs)


def in_turn(*replies: Reply) -> Callable[[Asked], Reply]:
    """A handler that gives the replies one after another, then the last one for ever."""
    left = list(replies)
    lock = threading.Lock()

    def answer(asked: Asked) -> Reply:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return answer


def tried(reply: Reply, request: Call, **kwargs: Any) -> tuple[Answer | Exception, int]:
    """What comes of a request whose first reply is given and whose second is fine; and how often it was sent."""
    with serving(in_turn(reply, Reply({"ok": 1}))) as (server, session):
        try:
            return send(session, request, policy(**kwargs)), len(server.asked)
        except Exception as error:
            return error, len(server.asked)


PASSING = {
    "dropped": Reply(drop=True),
    "cut short": Reply({"long": "x" * 100}, cut=20),
    "wrong JSON": Reply(b'{"ok": '),
    "empty": Reply(b""),
    **{str(status): Reply({}, status) for status in (408, 425, 429, 500, 502, 503, 504)},
}


class TestRepeating:
    @pytest.mark.parametrize("name", PASSING)
    def test_a_repeatable_request_is_sent_again(self, name: str) -> None:
        answer, sent = tried(PASSING[name], call())
        assert isinstance(answer, Answer) and sent == 2
        assert (answer.status, answer.attempts, answer.document and answer.document.root) == (
            200, 2, {"ok": 1},
        )  # fmt: skip

    @pytest.mark.parametrize("name", [name for name in PASSING if name != "429"])
    def test_one_that_must_not_arrive_twice_is_not_and_its_outcome_is_unknown(
        self, name: str
    ) -> None:
        error, sent = tried(PASSING[name], call("POST", repeatable=False, body=b"{}"))
        assert isinstance(error, OutcomeUnknownError) and sent == 1
        assert "may have been carried out" in str(error) and error.attempts == 1

    def test_a_request_that_was_counted_and_let_go_is_sent_again_whatever_it_is(self) -> None:
        answer, sent = tried(Reply({}, 429), call("POST", repeatable=False))
        assert isinstance(answer, Answer) and sent == 2

    def test_no_connection_is_known_not_to_have_arrived(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            session = ApiSession(f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(UnavailableError, match="cannot be reached .*4 times: it is tried"):
                send(session, call("POST", repeatable=False), policy())

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("503", UnavailableError),
            ("429", UnavailableError),
            ("dropped", UnavailableError),
            ("wrong JSON", BrokenAnswerError),
        ],
    )
    def test_it_ends_after_so_many_attempts_with_an_error_that_can_be_tried_again(
        self, name: str, error: type[Exception]
    ) -> None:
        with serving(lambda asked: PASSING[name]) as (server, session):
            with pytest.raises(error, match="GET /things .* 4 times") as raised:
                send(session, call(), policy())
            assert len(server.asked) == 4
        assert isinstance(raised.value, RetriableError)

    def test_the_body_is_the_same_each_time(self) -> None:
        with serving(in_turn(Reply(drop=True), Reply({}, 500), Reply({}))) as (server, session):
            send(session, call("PUT", body=b'{"a":1}', headers={"X-A": "1"}), policy())
        assert [(one.body, one.headers["X-A"]) for one in server.asked] == [(b'{"a":1}', "1")] * 3

    def test_it_stops_when_asked_to_even_while_it_waits(self) -> None:
        asked_to_stop = threading.Event()

        def answer(asked: Asked) -> Reply:
            asked_to_stop.set()
            return Reply({}, 503, {"Retry-After": "4"})

        began = time.monotonic()
        with serving(answer) as (server, session):
            with pytest.raises(InterruptedStepError):
                send(session, call(), policy(stop=asked_to_stop.is_set))
        assert time.monotonic() - began < 4 and len(server.asked) == 1


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_the_wait_that_is_asked_for_is_kept(self, status: int, form: str) -> None:
        # The server's clock is a day behind; only the difference of its two dates counts.
        server_now = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        until = format_datetime(server_now + timedelta(seconds=1), usegmt=True)
        headers = {"Retry-After": "1" if form == "seconds" else until}
        dated = headers | {"Date": format_datetime(server_now, usegmt=True)}
        began = time.monotonic()
        answer, sent = tried(Reply({}, status, dated), call())
        assert isinstance(answer, Answer) and sent == 2
        assert time.monotonic() - began >= 1

    def test_a_wait_longer_than_allowed_ends_the_task_and_says_until_when(self) -> None:
        error, sent = tried(Reply({}, 429, {"Retry-After": "3600"}), call())
        assert isinstance(error, ThrottledError) and sent == 1
        assert timedelta(minutes=59) < error.retry_at - datetime.now(UTC) <= timedelta(hours=1)
        assert f"{error.retry_at:%H:%M:%S} UTC" in str(error) and "3,600 seconds" in str(error)
        assert pickle.loads(pickle.dumps(error)).retry_at == error.retry_at

    @pytest.mark.parametrize("said", ["999999999999", "9" * 30, "9" * 400])
    def test_a_wait_beyond_the_calendar_is_one_too_long(self, said: str) -> None:
        error, sent = tried(Reply({}, 429, {"Retry-After": said}), call())
        assert isinstance(error, ThrottledError) and sent == 1
        assert error.retry_at > datetime.now(UTC) + timedelta(days=300)

    def test_a_quota_that_is_used_up_for_longer_ends_the_task_too(self) -> None:
        spent = {
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "7200",
        }
        with serving(lambda asked: Reply({}, headers=spent)) as (server, session):
            paced = policy()
            send(session, call(), paced)
            with pytest.raises(ThrottledError, match="quota .* 7,[12][0-9][0-9] seconds") as raised:
                send(session, call(), paced)
        assert len(server.asked) == 1
        assert timedelta(hours=1) < raised.value.retry_at - datetime.now(UTC) <= timedelta(hours=2)

    def test_what_is_left_of_a_quota_for_a_day_is_not_spread_over_the_day(self) -> None:
        scarce = {
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Remaining": "5",
            "X-RateLimit-Reset": "86400",
        }
        began = time.monotonic()
        with serving(lambda asked: Reply({}, headers=scarce)) as (_, session):
            paced = policy()
            for _ in range(3):
                send(session, call(), paced)
        assert time.monotonic() - began < 5


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "error", "remedy"),
        [
            (400, ApiRefusedError, "correct the parameters"),
            (401, ApiAccessError, "renew the secret"),
            (403, ApiAccessError, "have the connection's account allowed"),
            (404, ApiRefusedError, "correct the path"),
            (410, ApiRefusedError, "gone for good"),
            (418, ApiRefusedError, "see the server's documentation"),
            (422, ApiRefusedError, "correct what is sent"),
        ],
    )
    def test_what_repeats_is_told_at_once_with_what_to_do(
        self, status: int, error: type[Exception], remedy: str
    ) -> None:
        raised, sent = tried(Reply({"error": "bad_thing"}, status), call())
        assert type(raised) is error and sent == 1
        assert str(raised).startswith(f"GET /things answers {status} (bad_thing): ")
        assert remedy in str(raised)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"title": "Not found", "detail": "No such order", "email": "x"}, "(Not found, No such order)"),
            ({"error": {"code": "E17", "message": "too large"}}, "(E17, too large)"),
            ({"errors": [{"code": 3, "detail": "bad date", "value": "1999"}]}, "(3, bad date)"),
            ({"message": "no account for ann@example.com"}, "(no account for ‹address›)"),
            ({"message": "call +49 30 1234567 now"}, "(call ‹digits› now)"),
            ({"detail": "token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30"}, "(token ‹token›)"),
            ({"detail": "x " * 300}, "x…)"),
            ({"name": "Ann", "customer": {"error": "Ann"}}, "answers 400: "),
            ({"error": "<html>"}, "answers 400: "),
            ([], "answers 400: "),
            (b"plain words about Ann", "answers 400: "),
        ],
    )  # fmt: skip
    def test_of_the_answer_only_what_says_why_is_quoted(self, body: Any, said: str) -> None:
        error, _ = tried(Reply(body, 400), call())
        assert said in str(error)
        assert "Ann" not in str(error) and len(str(error)) < 320

    def test_a_page_for_people_is_told_as_such(self) -> None:
        page = Reply(b"<!DOCTYPE html><p>Log in, Ann", 200, {"Content-Type": "text/html"})
        with serving(lambda asked: page) as (server, session):
            with pytest.raises(
                ApiRefusedError, match=r"a page for people \(text/html\), not JSON"
            ) as e:
                send(session, call(), policy())
        assert len(server.asked) == 3 and "Ann" not in str(e.value)

    def test_a_page_for_people_is_no_receipt_even_where_no_json_is_needed(self) -> None:
        page = Reply(b"<html>", 200, {"Content-Type": "text/html"})
        error, _ = tried(page, call("POST", repeatable=False, needs_json=False))
        assert isinstance(error, OutcomeUnknownError)

    def test_nothing_secret_of_an_address_is_shown(self) -> None:
        resource = Resource.model_validate({"path": "/things", "params": {"status": "open"}})
        with serving(lambda asked: Reply({}, 404)) as (_, session):
            session.params = {"api_key": "hush", "sig": "hush"}
            from sinew.api.pages import read_pages

            with pytest.raises(ApiRefusedError) as raised:
                list(read_pages(session, resource, {}))
            session.close()
        assert "hush" not in str(raised.value) and "status=open" in str(raised.value)

    def test_a_connection_that_breaks_does_not_show_it_either(self) -> None:
        with serving(lambda asked: Reply(drop=True)) as (_, session):
            session.params = {"api_key": "hush"}
            with pytest.raises(UnavailableError) as raised:
                send(session, call(), policy())
        assert "hush" not in str(raised.value)


class TestRedirects:
    def test_one_within_the_server_is_followed_for_get(self) -> None:
        def answer(asked: Asked) -> Reply:
            if asked.path == "/things":
                return Reply({}, 301, {"Location": "/moved?x=1"})
            return Reply(dict(asked.query))

        with serving(answer) as (_, session):
            found = send(session, call(params=[("a", "b")]), policy())
        assert found.document is not None and found.document.root == {"x": "1"}

    def test_one_to_another_server_is_refused_before_anything_is_sent_there(self) -> None:
        with serving(lambda asked: Reply({})) as (other, _):
            there = Reply({}, 302, {"Location": other.url + "/things?token=hush"})
            with serving(lambda asked: there) as (_, session):
                with pytest.raises(ApiRefusedError, match=r"redirects \(302\) to http") as raised:
                    send(session, call(), policy())
            assert other.asked == [] and "hush" not in str(raised.value)

    def test_a_post_does_not_become_a_get(self) -> None:
        error, sent = tried(Reply({}, 303, {"Location": "/moved"}), call("POST", body=b"{}"))
        assert isinstance(error, ApiRefusedError) and sent == 1

    def test_a_circle_ends(self) -> None:
        with serving(lambda asked: Reply({}, 302, {"Location": "/things"})) as (_, session):
            with pytest.raises(ApiRefusedError, match="redirects in a circle"):
                send(session, call(), policy())


class TestBodies:
    @pytest.mark.parametrize(
        ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
    )
    def test_a_compressed_answer_is_read(
        self, encoding: str, pack: Callable[[bytes], bytes]
    ) -> None:
        reply = Reply(pack(b'{"a":1.10}'), 200, {"Content-Encoding": encoding})
        answer, _ = tried(reply, call())
        assert isinstance(answer, Answer) and answer.body == b'{"a":1.10}'

    def test_a_compressed_answer_that_is_cut_short_is_read_again(self) -> None:
        packed = gzip.compress(b"[" + b"1," * 5000 + b"1]")[:-20]
        answer, sent = tried(Reply(packed, 200, {"Content-Encoding": "gzip"}), call())
        assert isinstance(answer, Answer) and sent == 2

    def test_an_answer_that_unpacks_to_too_much_is_refused_on_the_way(self) -> None:
        bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
        reply = Reply(bomb, 200, {"Content-Encoding": "gzip"})
        error, sent = tried(reply, call(), limits=Limits(answer_bytes=1 << 20))
        assert isinstance(error, ApiRefusedError) and sent == 1
        assert "larger than 1,048,576 bytes: ask for smaller pages" in str(error)

    def test_no_content_is_no_document(self) -> None:
        answer, _ = tried(Reply(b"", 204), call())
        assert isinstance(answer, Answer) and answer.document is None


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestTimeouts:
    def test_a_server_that_does_not_answer_is_left(self, silent: str) -> None:
        patience = Policy(Retry(attempts=2, first_delay=0.001), timeouts=Timeouts(read=0.1))
        with pytest.raises(UnavailableError, match="does not answer in time, 2 times"):
            send(ApiSession(silent), call(), patience)

    def test_one_that_answers_for_ever_is_left_too(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            ended = threading.Event()

            def drip() -> None:
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not ended.wait(0.02):
                    try:
                        connection.sendall(b"1\r\n \r\n")
                    except OSError:
                        return

            threading.Thread(target=drip, daemon=True).start()
            patience = Policy(Retry(attempts=1), timeouts=Timeouts(read=5, total=0.2))
            session = ApiSession(f"http://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(UnavailableError, match="still answering after 0.2 seconds"):
                send(session, call(), patience)
            ended.set()


class TestPolicies:
    def test_all_sessions_of_a_server_share_one_pace(self) -> None:
        resource = Resource.model_validate({"path": "/a", "limits": {"requests_per_second": 7}})
        one, two = ApiSession("http://127.0.0.1:1"), ApiSession("http://127.0.0.1:1")
        other = ApiSession("http://127.0.0.1:2")
        pace: Pace = policy_of(one, resource).pace
        assert policy_of(two, resource).pace is pace
        assert policy_of(other, resource).pace is not pace
