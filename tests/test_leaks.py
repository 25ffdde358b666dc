"""Planted secrets are looked for in all that is left of runs that succeed and fail, and none is found.

The same search finds them when Airflow's masker and the encryption are switched off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from psycopg.conninfo import conninfo_to_dict

from demo.shop.authserver import AuthServer
from demo.shop.tls import Certificates
from tests import kit_leaks, kit_leaks_dag
from tests.fix_airflow import Airflow
from tests.fix_auth import Api, Request, extra_of, fine, guarded, serving
from tests.kit_leaks import find
from tests.test_apis import give_store

PROJECT = Path(__file__).resolve().parents[1]
ODD = 'pl4nted/s3cret+&="%ä\\'  # every encoding changes something of it


@dataclass
class Planted:
    """Connections, the path that each is asked for, and what is secret of them, by name."""

    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        url: str,
        extra: dict[str, Any],
        path: str = "/orders",
        password: str | None = None,
        login: str | None = None,
        **secrets: str,
    ) -> None:
        """A connection; a password is secret too."""
        parts = {"conn_type": "sinew_http", "host": url, "login": login, "password": password}
        self.connections[name] = {k: v for k, v in parts.items() if v} | {"extra": extra}
        self.asked[name] = path
        given = secrets | ({"password": password} if password else {})
        self.secrets |= {f"{kind} of {name}": text for kind, text in given.items()}


@pytest.fixture
def shop(tls_auth_server: AuthServer, certificates: Certificates) -> Iterator[Api]:
    """An API over TLS; /echo fails and repeats all that it was sent, /refuse takes no proof."""
    usual = guarded(tls_auth_server)

    def respond(request: Request) -> tuple[int, dict[str, str], bytes]:
        path = urlsplit(request.path).path
        if path in ("/echo", "/refuse"):
            said = json.dumps({"path": request.path, **request.headers}).encode()
            return (500 if path == "/echo" else 401), {"Content-Type": "application/json"}, said
        by_token = request.headers.get("authorization", "").startswith("Bearer ")
        return usual(request) if by_token else fine(request)

    with serving(respond, certificates.server_context()) as api:
        yield api


@pytest.fixture
def planted(tls_auth_server: AuthServer, certificates: Certificates, shop: Api) -> Planted:
    """Fixed proofs and OAuth, each with a run that succeeds, and the ways in which they fail."""
    made = Planted()
    _fixed(made, certificates, shop)
    _granted(made, tls_auth_server, certificates, shop)
    _refused(made, tls_auth_server, certificates, shop)
    return made


def _fixed(made: Planted, certificates: Certificates, shop: Api) -> None:
    tls = {"ca": str(certificates.authority)}
    key = {"type": "api_key", "name": "X-Key"}
    headers = {"X-Api-Key": f"header {ODD.encode('ascii', 'ignore').decode()}"}
    extra = {"auth": key, "tls": tls, "headers": headers}
    made.add("api_key", shop.url, extra, password=f"key {_latin(ODD)}", header=headers["X-Api-Key"])
    query = {"type": "api_key", "in": "query", "name": "sid"}
    made.add("query_key", shop.url, {"auth": query, "tls": tls}, password=f"query {ODD}")
    in_extra = {"type": "api_key", "api_key": "extra-pl4nted-key-0123456789"}
    made.add("extra_key", shop.url, {"auth": in_extra, "tls": tls}, key=in_extra["api_key"])
    made.add("basic", shop.url, {"tls": tls}, password=f"basic {ODD}", login="ada")
    sign = {"type": "hmac", "key_id": "k"}
    made.add("hmac", shop.url, {"auth": sign, "tls": tls}, password=f"hmac {ODD}")
    bearer = {"type": "bearer"}
    for name, path in (("bearer_echo", "/echo"), ("bearer_refused", "/refuse")):
        secret = f"{name}-pl4nted-0123456789"
        made.add(name, shop.url, {"auth": bearer, "tls": tls}, path, password=secret)


def _latin(text: str) -> str:
    """A header takes no others."""
    return text.encode("latin-1", "ignore").decode("latin-1")


def _granted(made: Planted, server: AuthServer, certificates: Certificates, shop: Api) -> None:
    grant = "client_credentials"
    escaped = server.clients["client_secret_basic_escaped"]
    made.add("secret", shop.url, extra_of(server, escaped, grant), secret=escaped.secret or "")
    made.add("echoed", shop.url, extra_of(server, escaped, grant), "/echo")
    opaque = server.clients["client_secret_post_opaque"]
    made.add("opaque", shop.url, extra_of(server, opaque, grant), secret=opaque.secret or "")
    hashed = server.clients["client_secret_jwt"]
    made.add("assertion", shop.url, extra_of(server, hashed, grant), secret=hashed.secret or "")
    signing, passphrase = server.clients["private_key_jwt"], "passphrase-pl4nted-0123456789"
    pem = _encrypted(signing.private_pem or "", passphrase)
    lock = {"private_key": pem, "private_key_passphrase": passphrase}
    extra = extra_of(server, signing, grant, **lock)
    made.add("private_key", shop.url, extra, key=pem, passphrase=passphrase)
    leaf, extra = (
        certificates.client_with_passphrase,
        extra_of(server, server.clients["tls_client_auth"], grant),
    )
    extra["tls"] |= {"certificate": str(leaf.certificate), "key_passphrase": leaf.passphrase}
    extra["tls"]["private_key"] = leaf.key.read_text()
    del extra["tls"]["key"]
    made.add("tls", shop.url, extra, key=leaf.key.read_text(), passphrase=leaf.passphrase or "")
    first = server.issue_refresh_token("none")
    extra = extra_of(server, server.clients["none"], "refresh_token", refresh_token=first)
    made.add("refreshed", shop.url, extra, seed=first)


def _encrypted(pem: str, passphrase: str) -> str:
    key = serialization.load_pem_private_key(pem.encode(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    ).decode()


def _refused(made: Planted, server: AuthServer, certificates: Certificates, shop: Api) -> None:
    grant, client = "client_credentials", server.clients["client_secret_post"]
    wrong = f"wrong {ODD}"
    made.add("wrong", shop.url, extra_of(server, client, grant, client_secret=wrong), secret=wrong)
    extra = extra_of(server, client, grant)
    made.add("unauthorized", shop.url, extra, "/refuse", secret=client.secret or "")
    used = "used-up-refresh-token-pl4nted"
    extra = extra_of(server, server.clients["none"], "refresh_token", refresh_token=used)
    made.add("invalid_grant", shop.url, extra, seed=used)
    extra = extra_of(server, client, grant, scope="products:read")
    extra["tls"] = {"ca": str(certificates.unknown_authority)}
    made.add("unknown_ca", shop.url, extra)
    made.add(
        "down", "http://127.0.0.1:9", {"auth": {"type": "bearer"}}, password="down-pl4nted-0123"
    )


FAILING = {
    "bearer_echo",
    "bearer_refused",
    "echoed",
    "wrong",
    "unauthorized",
    "invalid_grant",
    "unknown_ca",
    "down",
}

GRANTED = ["secret", "opaque", "tls", "refreshed"]
# Which of them also go through the hook, and through the provider's operator.
HOOKED = ["query_key", "private_key", "bearer_echo", "echoed", "wrong", "unknown_ca"]
OPERATED = ["secret", "echoed", "bearer_refused"]


@dataclass
class Ran:
    """What an Airflow run left: the states of its tasks, and all places in which to look."""

    states: dict[str, str]
    places: dict[str, bytes]
    tokens: dict[str, str]


def run_in_airflow(airflow: Airflow, planted: Planted, bare: bool) -> Ran:
    """Store the connections and run the DAG; everything encrypted and masked, or nothing."""
    service, tokens_dsn = airflow.service, airflow.dsn("new_shop")
    airflow.new("DROP SCHEMA IF EXISTS sinew_auth CASCADE")
    env = airflow.env() | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
    with psycopg.connect(airflow.dsn("airflow"), autocommit=True) as metadata:
        metadata.execute("DELETE FROM connection")
    store = {"sinew_tokens": _postgres(tokens_dsn)}
    handover = service.home / "handover.json"
    handover.write_text(json.dumps(planted.connections | store), encoding="utf-8")
    key = env["AIRFLOW__CORE__FERNET_KEY"]
    without = {"AIRFLOW__CORE__FERNET_KEY": ""} if bare else {}
    _run(service.command("connections", "import", "--overwrite", str(handover)), env | without)
    handover.unlink()
    said = json.dumps(
        {
            "asked": planted.asked,
            # Where all is bare, tokens are needed and nothing else.
            "opened": GRANTED if bare else list(planted.asked),
            "hooked": [] if bare else HOOKED,
            "operated": [] if bare else OPERATED,
            "bare": bare,
        }
    )
    dags = service.home / "dags"
    dags.mkdir(exist_ok=True)
    (dags / "leaks.py").write_text(kit_leaks_dag.FILE.format(said=said), encoding="utf-8")
    env["AIRFLOW__CORE__DAGS_FOLDER"] = str(dags)
    done = _run([sys.executable, "-m", "tests.kit_leaks_dag", said], env)
    kept = ("secrets.json", "passwords.json", "airflow.cfg")
    places = kit_leaks.files_below(service.home, besides=kept)
    places |= {
        "what was printed": done.stdout + done.stderr,
        "the metadata database": kit_leaks.dump(airflow.dsn("airflow")),
        "the store of tokens": kit_leaks.dump(tokens_dsn),
    }
    found = kit_leaks.stored_tokens(tokens_dsn, None if bare else key)
    (states,) = [
        line.partition(kit_leaks_dag.STATES)[2]
        for line in done.stdout.decode().splitlines()
        if kit_leaks_dag.STATES in line
    ]
    return Ran(json.loads(states), places, found)


def _postgres(dsn: str) -> dict[str, Any]:
    parts = conninfo_to_dict(dsn)
    return {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(parts["port"]),
        "login": parts["user"],
        "password": parts["password"],
        "schema": parts["dbname"],
    }


def _run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        command, env=env, cwd=PROJECT, capture_output=True, check=False, timeout=200
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:].decode()
    return done


@pytest.mark.slow
# Minutes: every library logs at its most talkative.
@pytest.mark.campaign
class TestUnderAirflow:
    def test_nothing_is_left_in_clear(self, airflow: Airflow, planted: Planted) -> None:
        ran = run_in_airflow(airflow, planted, bare=False)
        for way, asked in {"opener": planted.asked, "hook": HOOKED, "operator": OPERATED}.items():
            failed = {name for name in asked if ran.states[f"{way}_{name}"] == "failed"}
            assert failed == FAILING & set(asked), way
        assert ran.states["careless"] == "success"
        # There was something to find, of every kind.
        assert {f"access_token of {name}" for name in (*GRANTED, "echoed")} <= ran.tokens.keys()
        assert "refresh_token of refreshed" in ran.tokens
        assert find(planted.secrets | ran.tokens, ran.places) == set()

    def test_the_search_finds_all_of_it_where_nothing_is_masked_and_encrypted(
        self, airflow: Airflow, planted: Planted
    ) -> None:
        ran = run_in_airflow(airflow, planted, bare=True)
        found = find(planted.secrets | ran.tokens, ran.places)
        printed = {name for name, place, _ in found if place == "what was printed"}
        stored = {name for name, place, _ in found if place == "the metadata database"}
        assert planted.secrets.keys() - printed == set()
        assert planted.secrets.keys() - stored == set()
        # Airflow's logs have no JWT even then, but tokens of other kinds.
        assert {"access_token of opaque", "refresh_token of refreshed"} <= printed
        in_store = {name for name, place, _ in found if place == "the store of tokens"}
        assert in_store == ran.tokens.keys() | {"a token"}


class TestWithoutAirflow:
    def test_the_command_line_and_its_logs_show_nothing(
        self,
        monkeypatch: pytest.MonkeyPatch,
        planted: Planted,
        tls_auth_server: AuthServer,
        shop: Api,
        home_db: str,
        fernet_key: str,
    ) -> None:
        give_store(monkeypatch, home_db, fernet_key)
        monkeypatch.setenv("BROWSER", f"{sys.executable} -m tests.kit_browser %s")
        tls_auth_server.control.auto_consent = True
        person, scope = tls_auth_server.clients["none"], "openid offline_access orders:read"
        extra = extra_of(tls_auth_server, person, "authorization_code", scope=scope)
        planted.add("person", shop.url, extra)
        for name, connection in planted.connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        paths = os.pathsep.join(str(PROJECT / folder) for folder in ("plugins", "include", "."))
        command = [sys.executable, "-m", "tests.kit_leaks_cli", json.dumps(planted.asked)]
        done = _run(command, dict(os.environ) | {"PYTHONPATH": paths})
        codes = json.loads(done.stdout.splitlines()[-1])
        assert {name for name, code in codes.items() if code} == FAILING
        tokens = kit_leaks.stored_tokens(home_db, fernet_key)
        kinds = {f"{kind}_token of person" for kind in ("access", "refresh", "id")}
        assert len(tokens) > 6 and kinds <= tokens.keys()
        places = {"stdout": done.stdout, "stderr": done.stderr, "store": kit_leaks.dump(home_db)}
        # Every library spoke.
        for library in (b"urllib3.connectionpool", b"DEBUG", b"Traceback"):
            assert library in done.stderr
        assert find(planted.secrets | tokens, places) == set()


class TestTheSearch:
    @pytest.mark.parametrize("form", sorted({name for name, _ in kit_leaks.forms("x" * 9)}))
    def test_it_finds_every_form(self, form: str) -> None:
        for name, text in kit_leaks.forms(ODD):
            if name == form:
                found = find({"it": ODD}, {"log": f"before{text}after".encode()})
                assert ("it", "log", form) in found

    @pytest.mark.parametrize("user", ["a", "ad", "ada"])
    def test_it_finds_a_password_in_a_basic_header(self, user: str) -> None:
        from requests.auth import _basic_auth_str

        header = _basic_auth_str(user.encode(), ODD.encode()).encode()
        assert ("it", "log", "in base64") in find({"it": ODD}, {"log": header})

    def test_it_finds_a_single_line_of_a_key(self, certificates: Certificates) -> None:
        pem = certificates.client.key.read_text()
        line = pem.splitlines()[1].encode()
        assert ("it", "log", "a line of it") in find({"it": pem}, {"log": line})

    def test_it_finds_nothing_in_what_is_harmless(self) -> None:
        assert find({"it": ODD}, {"log": b"pl4nted s3cret eyJ.eyJ"}) == set()
