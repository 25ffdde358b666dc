"""Many processes, one token: one request a lifetime, and no refresh token burnt, wherever one is killed."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

import pytest

from demo.shop.authserver import AuthServer
from sinew.auth.endpoint import ApiEndpoint
from sinew.auth.life import TokenSource
from sinew.auth.postgres_store import PostgresTokenStore
from sinew.errors import LoginNeededError
from tests.fix_auth import client_endpoint
from tests.kit_auth import die, renew, renew_until_killed, use

BASIC = "client_secret_basic"
# Spawned: no thread of the servers here is in them.
context = multiprocessing.get_context("spawn")


def run(count: int, work: Callable[..., None], *args: Any) -> list[str]:
    """What so many processes said, when all have ended well."""
    said = context.Queue()
    processes = [context.Process(target=work, args=(*args, said)) for _ in range(count)]
    for process in processes:
        process.start()
    lines: list[str] = []
    while any(process.is_alive() for process in processes):
        _drain(said, lines)
    for process in processes:
        process.join()
    _drain(said, lines)
    assert [process.exitcode for process in processes] == [0] * count
    return lines


def _drain(said: Any, lines: list[str]) -> None:
    try:
        while True:
            lines.append(said.get(timeout=0.05))
    except Empty:
        pass


def family(server: AuthServer) -> ApiEndpoint:
    return client_endpoint(
        server, BASIC, "refresh_token", refresh_token=server.issue_refresh_token(BASIC)
    )


def test_two_hundred_calls_of_eight_processes_are_one_request(
    auth_server: AuthServer, tokens: PostgresTokenStore
) -> None:
    lines = run(8, use, client_endpoint(auth_server, BASIC), tokens, 25)
    assert len(lines) == 200
    assert len(set(lines)) == 1
    assert auth_server.control.token_requests() == 1


def test_fifty_forced_renewals_of_four_processes_burn_no_refresh_token(
    auth_server: AuthServer, tokens: PostgresTokenStore
) -> None:
    lines = run(4, renew, family(auth_server), tokens, 50)
    assert len(lines) == 200
    assert not [line for line in lines if line.startswith("error")]
    control = auth_server.control
    assert control.token_requests(outcome="ok") == control.token_requests() >= 50
    assert control.families_revoked == 0


class TestAProcessThatIsKilled:
    @pytest.mark.parametrize("point", ["asking", "committed"])
    def test_outside_the_gap_leaves_no_trace(
        self, point: str, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end = family(auth_server)
        token = TokenSource(end, tokens).current()
        self.kill(end, tokens, point)
        assert TokenSource(end, tokens).renewed(token)
        assert auth_server.control.families_revoked == 0
        assert auth_server.control.token_requests(outcome="ok") == 2

    def test_between_answer_and_commit_is_healed_by_the_overlap(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        auth_server.settings.refresh_overlap = 60.0
        end = family(auth_server)
        token = TokenSource(end, tokens).current()
        self.kill(end, tokens, "answered")
        again = TokenSource(end, tokens).renewed(token)
        assert again != token
        assert TokenSource(end, tokens).renewed(again) != again
        assert auth_server.control.families_revoked == 0

    def test_between_answer_and_commit_without_overlap_ends_in_a_login(
        self, auth_server: AuthServer, tokens: PostgresTokenStore
    ) -> None:
        end = family(auth_server)
        token = TokenSource(end, tokens).current()
        self.kill(end, tokens, "answered")
        with pytest.raises(
            LoginNeededError, match="put a new refresh_token into connection 'shop_api'"
        ):
            TokenSource(end, tokens).renewed(token)

    @staticmethod
    def kill(end: ApiEndpoint, tokens: PostgresTokenStore, point: str) -> None:
        process = context.Process(target=die, args=(end, tokens, point))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_thousand_forced_renewals_survive_kills_at_random(
    auth_server: AuthServer, tokens: PostgresTokenStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server takes a token that was just replaced once more, as servers do for lost answers."""
    auth_server.settings.refresh_overlap = 60.0
    end, control = family(auth_server), auth_server.control
    dice, kills, ended_early = random.Random(7), 0, 0
    processes: list[Any] = []
    while control.token_requests(outcome="ok") < 1000 or kills < 20:
        while len(processes) < 4:
            processes.append(context.Process(target=renew_until_killed, args=(end, tokens)))
            processes[-1].start()
        time.sleep(dice.uniform(1.0, 3.0))
        victim = processes.pop(dice.randrange(4))
        ended_early += not victim.is_alive()
        victim.kill()
        victim.join()
        kills += 1
    for process in processes:
        process.kill()
        process.join()
    ok, asked = control.token_requests(outcome="ok"), control.token_requests()
    with capsys.disabled():
        print(f"\n{ok} renewals, {kills} kills, {control.families_revoked} families revoked")
    assert (ended_early, control.families_revoked, asked - ok) == (0, 0, 0)
    assert TokenSource(end, tokens).current()
