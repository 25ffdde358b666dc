"""The embedded PostgreSQL: starting, stopping, crashing, and never harming what is not its own."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from demo.stack.errors import StackError
from demo.stack.files import read_json, write_json
from demo.stack.ports import HOST, first_free, is_free
from demo.stack.postgres import EmbeddedPostgres
from demo.stack.processes import Stamp, end_session, session_of

SMALL = {"shared_buffers": "32MB"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    own = EmbeddedPostgres(tmp_path_factory.mktemp("stack"), SMALL)
    own.start()
    yield own
    own.kill()


@pytest.fixture
def up(server: EmbeddedPostgres) -> EmbeddedPostgres:
    server.start()
    return server


def answer(server: EmbeddedPostgres, query: str) -> object:
    with server.connect() as conn:
        row = conn.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def sleeper(*, children: int = 0) -> subprocess.Popen[bytes]:
    code = (
        "import subprocess, sys, time\n"
        f"for _ in range({children}):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert started.stdout is not None and started.stdout.readline()
    return started


class TestStart:
    def test_a_second_start_keeps_the_running_server(self, up: EmbeddedPostgres) -> None:
        before = up.postmaster()
        up.start()
        assert up.postmaster() == before

    def test_a_restart_keeps_port_password_and_data(self, up: EmbeddedPostgres) -> None:
        dsn = up.dsn()
        up.ensure_database("kept")
        up.stop()
        up.stop()
        assert not up.running
        up.start()
        assert up.dsn() == dsn
        up.connect("kept").close()

    def test_a_taken_port_is_given_up_for_a_free_one(self, up: EmbeddedPostgres) -> None:
        port = up.port
        up.stop()
        with socket.create_server((HOST, port)):
            up.start()
            assert up.port != port
            assert answer(up, "SELECT 1") == 1

    def test_only_this_machine_can_reach_it_and_only_with_a_password(
        self, up: EmbeddedPostgres
    ) -> None:
        assert answer(up, "SHOW listen_addresses") == HOST
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host=HOST, port=up.port, user="postgres", password="wrong")
        mode = stat.S_IMODE((up.path / "passwords.json").stat().st_mode)
        assert mode == 0o600

    def test_it_is_durable_and_logs_changes_for_replication(self, up: EmbeddedPostgres) -> None:
        assert answer(up, "SHOW fsync") == "on"
        assert answer(up, "SHOW synchronous_commit") == "on"
        assert answer(up, "SHOW wal_level") == "logical"

    def test_a_setting_that_the_server_refuses_is_reported_with_its_log(
        self, up: EmbeddedPostgres
    ) -> None:
        up.stop()
        broken = EmbeddedPostgres(up.path, {"shared_buffers": "many"})
        with pytest.raises(StackError, match="shared_buffers"):
            broken.start()
        assert not broken.running


@pytest.mark.crash
class TestCrash:
    def test_committed_rows_survive_a_killed_server(self, up: EmbeddedPostgres) -> None:
        with up.connect() as conn:
            conn.execute("CREATE TABLE IF NOT EXISTS survivor AS SELECT 42 AS n")
        up.kill()
        assert not up.running
        up.start()
        assert answer(up, "SELECT n FROM survivor") == 42

    def test_a_backend_that_outlives_its_postmaster_does_not_block_the_next_start(
        self, up: EmbeddedPostgres
    ) -> None:
        postmaster = up.postmaster()
        assert postmaster is not None
        orphans = postmaster.children(recursive=True)
        stamps = [Stamp.of(orphan.pid) for orphan in orphans]
        for orphan in orphans:
            orphan.suspend()
        postmaster.kill()
        psutil.wait_procs([postmaster], timeout=5)
        up.start()
        assert answer(up, "SELECT 1") == 1
        assert not [stamp for stamp in stamps if stamp.process()]

    def test_a_pid_file_that_names_a_stranger_is_stale(self, up: EmbeddedPostgres) -> None:
        up.kill()
        stranger = sleeper()
        pid_file = up.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        try:
            assert not up.running
            up.start()
            assert stranger.poll() is None
            assert answer(up, "SELECT 1") == 1
        finally:
            stranger.kill()
            stranger.wait()

    def test_an_interrupted_first_start_is_begun_again(self, tmp_path: Path) -> None:
        half = tmp_path / "data.new"
        half.mkdir()
        (half / "postgresql.conf").write_text("half")
        fresh = EmbeddedPostgres(tmp_path, SMALL)
        fresh.start()
        fresh.kill()
        assert not half.exists()


@pytest.mark.services
class TestTheSystemsOwnServer:
    def test_an_older_major_version_runs_beside_the_embedded_one(
        self, system_pg: EmbeddedPostgres, pg: EmbeddedPostgres
    ) -> None:
        assert system_pg.major_version() < pg.major_version()
        assert answer(system_pg, "SELECT xml '<a/>' IS DOCUMENT") is True
        assert answer(system_pg, "SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'")


class TestRolesAndDatabases:
    def test_a_role_connects_to_its_own_database_only(self, up: EmbeddedPostgres) -> None:
        for name in ("shop", "bank"):
            up.ensure_role(name)
            up.ensure_database(name, owner=name)
        psycopg.connect(up.dsn("shop", "shop")).close()
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(up.dsn("bank", "shop"))

    def test_a_role_made_twice_keeps_its_password(self, up: EmbeddedPostgres) -> None:
        up.ensure_role("twice")
        password = up.password("twice")
        up.ensure_role("twice", "REPLICATION")
        assert up.password("twice") == password

    def test_a_dropped_database_ends_the_sessions_in_it(self, up: EmbeddedPostgres) -> None:
        up.ensure_database("busy")
        with up.connect("busy") as session:
            up.drop_database("busy")
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")

    def test_an_unknown_role_is_named_with_the_known_ones(self, up: EmbeddedPostgres) -> None:
        with pytest.raises(StackError, match=r"'nobody'.*Known: .*postgres"):
            up.dsn("postgres", "nobody")


class TestProcesses:
    def test_a_pid_with_another_start_time_is_another_process(self) -> None:
        mine = Stamp.of(os.getpid())
        assert mine.process() is not None
        assert Stamp(mine.pid, mine.started - 100).process() is None
        assert session_of(Stamp(mine.pid, mine.started - 100)) == []

    def test_ending_a_session_takes_the_children_that_its_dead_leader_left(self) -> None:
        leader = sleeper(children=2)
        stamp = Stamp.of(leader.pid)
        assert len(session_of(stamp)) == 3
        leader.kill()
        leader.wait()
        assert len(session_of(stamp)) == 2
        end_session(stamp, patience=1)
        assert session_of(stamp) == []


class TestPortsAndFiles:
    def test_the_first_free_port_skips_a_taken_one(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            assert not is_free(port)
            assert first_free(port) != port

    def test_a_json_file_is_private_and_replaced_as_a_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "deep" / "state.json"
        assert read_json(file) == {}
        write_json(file, {"a": 1})
        write_json(file, {"b": 2})
        assert read_json(file) == {"b": 2}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [file] == list(file.parent.iterdir())
