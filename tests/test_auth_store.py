"""The store of tokens: nothing in clear, one at a time, nothing lost with a connection."""

from __future__ import annotations

import json
import pickle
import threading
import time
from dataclasses import replace

import psycopg
import pytest
from cryptography.fernet import Fernet

from demo.shop.authserver import AuthServer
from demo.stack.postgres import EmbeddedPostgres
from sinew.auth.life import TokenSource
from sinew.auth.postgres_store import PostgresTokenStore
from sinew.auth.sealing import Sealer
from sinew.auth.session import ApiSession
from sinew.auth.store import MemoryTokenStore, StoredToken
from sinew.errors import (
    ConfigurationError,
    InterruptedStepError,
    UnavailableError,
)
from tests.fix_auth import client_endpoint

BASIC = "client_secret_basic"


def refreshing(server: AuthServer, **auth: object) -> tuple[object, str]:
    token = server.issue_refresh_token(BASIC)
    return client_endpoint(server, BASIC, "refresh_token", refresh_token=token, **auth), token


class TestTheStore:
    def test_nothing_is_kept_in_clear(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        end, _ = refreshing(auth_server)
        access = TokenSource(end, tokens).current()  # type: ignore[arg-type]
        stored = tokens.peek(end.slot)  # type: ignore[attr-defined]
        assert stored is not None
        with psycopg.connect(token_db) as conn:
            row = conn.execute("SELECT t::text FROM sinew_auth.token t").fetchall()
        for secret in (access, stored.refresh_token or "", "orders:read"):
            assert secret not in str(row)
        assert access not in repr(stored) + repr(tokens) + str(tokens)

    @pytest.mark.parametrize(
        "key", ["", "  ", "abc", "a" * 44, ",", Fernet.generate_key().decode() + ","]
    )
    def test_an_empty_or_malformed_key_is_refused(self, key: str) -> None:
        with pytest.raises(ConfigurationError, match="Fernet key is (empty|malformed)") as raised:
            PostgresTokenStore("", key)
        assert not key.strip(" ,") or key not in str(raised.value)

    def test_another_key_is_refused_with_words(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        end = client_endpoint(auth_server, BASIC)
        TokenSource(end, tokens).current()
        other = PostgresTokenStore(token_db, Fernet.generate_key().decode())
        with pytest.raises(ConfigurationError, match="encrypted with another Fernet key"):
            TokenSource(end, other).current()

    def test_keys_are_rotated_as_in_airflow(
        self, auth_server: AuthServer, tokens: PostgresTokenStore, token_db: str, fernet_key: str
    ) -> None:
        end = client_endpoint(auth_server, BASIC)
        first = TokenSource(end, tokens).current()
        rotated = PostgresTokenStore(token_db, f"{Fernet.generate_key().decode()},{fernet_key}")
        assert TokenSource(end, rotated).current() == first

    def test_a_slot_that_fails_leaves_what_was(self, tokens: PostgresTokenStore) -> None:
        token = StoredToken(
            access_token="a", refresh_token="r", expires_in=100.0, claims={"sub": "x"}
        )
        with tokens.slot("k") as slot:
            slot.save(token)
        with pytest.raises(ZeroDivisionError), tokens.slot("k") as slot:
            raise ZeroDivisionError
        found = tokens.peek("k")
        assert found is not None
        assert replace(found, age=0.0) == token
        assert 0 <= found.age < 60

    def test_a_deleted_token_is_gone(self, tokens: PostgresTokenStore) -> None:
        with tokens.slot("k") as slot:
            slot.save(StoredToken(access_token="a"))
        with tokens.slot("k") as slot:
            slot.delete()
        assert tokens.peek("k") is None
        with tokens.slot("k") as slot:
            assert slot.load() is None

    def test_who_waits_for_the_lock_sees_what_was_saved(
        self, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        tokens.create_table()
        held, seen = threading.Event(), []

        def wait() -> None:
            held.wait(10)
            with tokens.slot("k") as slot:
                seen.append(slot.load())

        thread = threading.Thread(target=wait)
        thread.start()
        with tokens.slot("k") as slot:
            held.set()
            somebody_waits(token_db)
            assert not seen
            slot.save(StoredToken(access_token="new"))
        thread.join(10)
        assert seen[0] is not None and seen[0].access_token == "new"

    def test_a_lost_connection_does_not_lose_the_token(
        self, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        with tokens.slot("k") as slot:
            slot.save(StoredToken(access_token="old"))
        with tokens.slot("k") as slot:
            end_other_sessions(token_db)
            slot.save(StoredToken(access_token="new", refresh_token="r"))
        found = tokens.peek("k")
        assert found is not None and found.refresh_token == "r"

    def test_a_lost_connection_does_not_overwrite_what_another_stored(
        self, tokens: PostgresTokenStore, token_db: str
    ) -> None:
        with tokens.slot("k") as slot:
            slot.save(StoredToken(access_token="old"))
        with tokens.slot("k") as slot:
            end_other_sessions(token_db)
            with tokens.slot("k") as second:
                second.save(StoredToken(access_token="theirs"))
            with pytest.raises(
                InterruptedStepError, match="connection that held a token's lock was lost"
            ):
                slot.save(StoredToken(access_token="ours"))
        found = tokens.peek("k")
        assert found is not None and found.access_token == "theirs"

    def test_a_role_without_rights_is_told_which(
        self, pg: EmbeddedPostgres, tokens: PostgresTokenStore, token_db: str, fernet_key: str
    ) -> None:
        tokens.create_table()
        pg.ensure_role("poor")
        database = str(psycopg.conninfo.conninfo_to_dict(token_db)["dbname"])
        poor = PostgresTokenStore(pg.dsn(database, "poor"), fernet_key)
        with pytest.raises(ConfigurationError, match="permission denied for database"):
            poor.peek("k")
        with psycopg.connect(token_db, autocommit=True) as conn:
            conn.execute(f"GRANT CONNECT ON DATABASE {database} TO poor")
        with pytest.raises(
            ConfigurationError, match="GRANT USAGE on schema sinew_auth and SELECT, INSERT, UPDATE"
        ):
            poor.peek("k")

    def test_a_database_that_is_down_is_worth_a_retry(self, fernet_key: str) -> None:
        store = PostgresTokenStore("host=127.0.0.1 port=9 dbname=x password=pl4nted", fernet_key)
        with pytest.raises(UnavailableError) as raised:
            store.peek("k")
        assert "pl4nted" not in str(raised.value)

    def test_it_goes_to_other_processes(self, tokens: PostgresTokenStore) -> None:
        with tokens.slot("k") as slot:
            slot.save(StoredToken(access_token="a"))
        found = pickle.loads(pickle.dumps(tokens)).peek("k")
        assert found is not None and found.access_token == "a"

    def test_a_body_is_json_under_fernet(self, fernet_key: str) -> None:
        body = Sealer(fernet_key).seal(StoredToken(access_token="a"))
        assert json.loads(Fernet(fernet_key).decrypt(body))["access_token"] == "a"


def somebody_waits(home: str) -> None:
    """Return when a session of the database waits for a lock."""
    with psycopg.connect(home, autocommit=True) as conn:
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while conn.execute(query).fetchone() == (0,):
            time.sleep(0.01)


def end_other_sessions(home: str) -> None:
    """End every other session of the database, as a restart or an impatient pooler would."""
    with psycopg.connect(home, autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_session_does_not_pickle_but_says_what_does(auth_server: AuthServer) -> None:
    session = ApiSession(client_endpoint(auth_server, BASIC), MemoryTokenStore())
    with pytest.raises(TypeError, match="send the endpoint and the store"):
        pickle.dumps(session)
