"""The deployment's files, read as Compose reads them: no service runs here."""

from __future__ import annotations

import base64
import os
import re
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from cryptography.fernet import Fernet
from cryptography.x509 import DNSName, SubjectAlternativeName
from psycopg.conninfo import make_conninfo

from demo.compose import connections, health, make_env, shop, tokens
from demo.shop.tls import make_certificates
from demo.shop.whole import serving
from demo.stack.ports import HOST
from demo.stack.postgres import EmbeddedPostgres
from sinew.auth import models, tls
from sinew.auth.postgres_store import PostgresTokenStore

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# These do their work and end.
ONCE = {"init", "demo-data"}
SECRETS = re.findall(r"^(SINEW_\w+)=$", EXAMPLE, re.MULTILINE)
# `${NAME}`, `${NAME:-default}` and `${NAME:?message}`, but not the shell's own `$$NAME`.
REFERENCE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


def airflow_services() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in SERVICES.items() if "./dags:" in str(each.get("volumes"))}


def waited_for(service: str) -> set[str]:
    """The services that must be up or done before this one is started."""
    direct = set(SERVICES[service].get("depends_on", {}))
    return direct.union(*(waited_for(each) for each in direct))


def environment(service: str) -> Mapping[str, str]:
    return SERVICES[service].get("environment", {})


class TestServices:
    def test_every_part_of_airflow_and_its_servers_has_a_service(self) -> None:
        assert {
            "postgres", "redis", "init", "api-server", "scheduler", "dag-processor", "triggerer",
            "worker", "demo-postgres", "demo-data", "demo-shop",
        } == SERVICES.keys()  # fmt: skip

    @pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONCE))
    def test_what_runs_for_long_is_watched_and_started_again(self, name: str) -> None:
        assert SERVICES[name]["restart"] == "unless-stopped"
        assert SERVICES[name]["healthcheck"]["test"]

    @pytest.mark.parametrize("name", sorted(ONCE))
    def test_what_ends_by_itself_is_not_started_again(self, name: str) -> None:
        assert SERVICES[name]["restart"] == "no"
        assert "healthcheck" not in SERVICES[name]

    def test_only_the_demos_services_wait_for_its_profile(self) -> None:
        demo = {name for name, each in SERVICES.items() if each.get("profiles") == ["demo"]}
        assert demo == {"demo-postgres", "demo-data", "demo-shop"}

    def test_nothing_but_the_ui_is_published_and_that_on_this_machine_alone(self) -> None:
        published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
        assert published == {
            "api-server": ["${SINEW_BIND:-127.0.0.1}:${SINEW_PORT:-8080}:8080"],
        }

    @pytest.mark.parametrize("name", sorted(airflow_services()))
    def test_the_projects_files_are_read_only_in_every_container(self, name: str) -> None:
        assert [v for v in SERVICES[name]["volumes"] if v[0] == "."] == [
            f"./{folder}:/opt/sinew/{folder}:ro" for folder in ("dags", "plugins", "include")
        ]

    def test_every_named_volume_belongs_to_one_server(self) -> None:
        used = [v for each in SERVICES.values() for v in each.get("volumes", []) if v[0] != "."]
        assert sorted(v.split(":")[0] for v in used) == sorted(COMPOSE["volumes"])

    def test_the_shops_folder_is_one_of_the_image_that_the_user_can_write_to(self) -> None:
        (folder,) = [v.split(":")[1] for v in SERVICES["demo-shop"]["volumes"] if v[0] != "."]
        assert folder == SERVICES["demo-shop"]["command"][-1]
        made = r"install --directory --owner=50000 --group=0 --mode=700 (\S+)"
        assert re.findall(made, TestImage.TEXT) == [folder]

    def test_nothing_moves_before_a_person_says_so(self) -> None:
        name = "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"
        assert environment("dag-processor")[name] == "True"

    def test_a_worker_can_be_multiplied(self) -> None:
        assert not {"container_name", "hostname", "ports"} & SERVICES["worker"].keys()

    def test_a_worker_has_neither_the_metadata_nor_the_key_that_signs_tokens_of_tasks(
        self,
    ) -> None:
        kept_back = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__API_AUTH__JWT_SECRET"}
        assert not kept_back & environment("worker").keys()
        assert kept_back <= environment("scheduler").keys()
        assert "POSTGRES" not in str(environment("worker"))

    @pytest.mark.parametrize("key", ["AIRFLOW__API__SECRET_KEY", "AIRFLOW__CORE__FERNET_KEY"])
    def test_all_agree_on_the_keys_of_logs_and_of_api_tokens(self, key: str) -> None:
        found = {environment(name).get(key) for name in airflow_services()}
        assert len(found) == 1 and None not in found

    @pytest.mark.parametrize("name", sorted(airflow_services()))
    def test_airflow_has_no_more_rights_than_it_needs(self, name: str) -> None:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


class TestSecrets:
    def test_every_secret_must_be_set_and_has_no_default(self) -> None:
        ways = {
            name: {way for n, way, _ in REFERENCE.findall(TEXT) if n == name} for name in SECRETS
        }
        assert all("?" in found and "-" not in found for found in ways.values()), ways

    def test_every_variable_is_described_in_the_example(self) -> None:
        described = set(re.findall(r"^#?(SINEW_\w+)=", EXAMPLE, re.MULTILINE))
        assert {name for name, _, _ in REFERENCE.findall(TEXT)} == described

    def test_every_default_is_the_one_that_the_example_shows(self) -> None:
        shown = dict(re.findall(r"^#(SINEW_\w+)=(.*)$", EXAMPLE, re.MULTILINE))
        defaults = {
            name: text for name, way, text in REFERENCE.findall(TEXT) if way == "-" and text
        }
        assert defaults == {name: shown[name] for name in defaults}

    def test_no_password_stands_in_the_file(self) -> None:
        found = re.findall(r"(?i)^\s*\w*(?:password|secret\w*|_key):\s*(\S+)", TEXT, re.MULTILINE)
        assert found
        assert all(value.startswith("${") for value in found), found

    def test_git_and_the_image_ignore_the_env_file(self) -> None:
        assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
        ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
        let_in = {line for line in ignored if line.startswith("!")}
        assert "*" in ignored
        assert let_in == {
            "!requirements.txt", "!requirements-dev.txt", "!dags", "!plugins", "!include"
        }  # fmt: skip


class TestMakeEnv:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "env"

    def values(self, file: Path) -> dict[str, str]:
        return dict(re.findall(r"^(SINEW_\w+)=(.*)$", file.read_text("utf-8"), re.MULTILINE))

    def test_every_secret_gets_a_value_of_its_own(self, file: Path) -> None:
        assert make_env.main([str(file)]) == 0
        values = self.values(file)
        assert sorted(values) == sorted(SECRETS)
        assert len(set(values.values())) == len(SECRETS)
        assert all(len(value) >= 44 for value in values.values())

    def test_only_its_owner_can_read_it(self, file: Path) -> None:
        make_env.main([str(file)])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_a_file_that_is_there_is_kept(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file.write_text("SINEW_SECRET_KEY=mine\n", encoding="utf-8")
        assert make_env.main([str(file)]) == 1
        assert file.read_text("utf-8") == "SINEW_SECRET_KEY=mine\n"
        assert "exists already" in capsys.readouterr().err

    def test_the_fernet_key_has_32_bytes(self, file: Path) -> None:
        make_env.main([str(file)])
        assert len(base64.urlsafe_b64decode(self.values(file)["SINEW_FERNET_KEY"])) == 32

    def test_it_runs_without_any_package_and_prints_no_secret(self, file: Path) -> None:
        script = ROOT / "include" / "demo" / "compose" / "make_env.py"
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(script), str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert not [v for v in self.values(file).values() if v in done.stdout + done.stderr]


class TestConnections:
    def test_no_text_means_no_connections(self) -> None:
        assert connections.given(" ") == {}

    def test_an_object_is_taken_as_it_is(self) -> None:
        assert connections.given('{"old": {"conn_type": "postgres"}}') == {
            "old": {"conn_type": "postgres"}
        }

    @pytest.mark.parametrize("text", ["{'old': hush}", '["hush"]'])
    def test_any_other_text_is_refused_without_being_shown(self, text: str) -> None:
        with pytest.raises(SystemExit) as refusal:
            connections.given(text)
        assert "is not a JSON object" in str(refusal.value)
        assert "hush" not in str(refusal.value)


class TestTokens:
    """The database of API tokens, made beside Airflow's own."""

    def test_it_is_made_once_and_again_without_harm(self, pg: EmbeddedPostgres) -> None:
        pg.ensure_role("airflow_like", "SUPERUSER")
        pg.ensure_database("airflow_like", "airflow_like")
        with psycopg.connect(pg.dsn("airflow_like", "airflow_like"), autocommit=True) as conn:
            for password in ("first", "second"):
                tokens.ensure(conn, password)
        parts = tokens.connection(HOST, pg.port, "second")
        where = {
            "host": parts["host"],
            "port": parts["port"],
            "user": parts["login"],
            "password": parts["password"],
        }
        own = make_conninfo(dbname=parts["schema"], **where)
        PostgresTokenStore(own, Fernet.generate_key().decode()).create_table()
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(make_conninfo(dbname="airflow_like", **where))

    def test_init_makes_it_after_airflows_own(self) -> None:
        command = SERVICES["init"]["command"][-1]
        assert "db migrate && python -m demo.compose.tokens" in command
        assert environment("init")["SINEW_TOKENS_PASSWORD"]


class TestShop:
    """The demo's shop, which Airflow reaches over a network."""

    def test_its_connections_carry_what_other_containers_lack(self, tmp_path: Path) -> None:
        with serving(tmp_path, host="localhost") as facts:
            for name, each in facts["connections"].items():
                assert each["host"].startswith("https://localhost:"), name
                given = shop.self_contained(each)["extra"]["tls"]
                assert str(tmp_path) not in str(given)
                tls.context(models.Tls(**given))
                assert given.get("key_passphrase") == each["extra"]["tls"].get("key_passphrase")

    def test_its_certificate_has_the_name_that_it_is_called_by(self, tmp_path: Path) -> None:
        names = make_certificates(tmp_path, health.SHOP_HOST).server.x509.extensions
        found = names.get_extension_for_class(SubjectAlternativeName).value
        assert health.SHOP_HOST in found.get_values_for_type(DNSName)
        assert SERVICES["demo-shop"]["hostname"] == health.SHOP_HOST

    def test_what_builds_its_image_and_makes_its_tables_comes_before(self) -> None:
        assert SERVICES["demo-shop"]["image"] == SERVICES["demo-data"]["image"]
        assert "demo-data" in waited_for("demo-shop")

    def test_it_is_healthy_when_airflow_knows_it_and_it_listens(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server((HOST, 0)) as server:
            monkeypatch.setattr(health, "SHOP_HOST", HOST)
            monkeypatch.setattr(health, "SHOP_PORTS", (server.getsockname()[1],))
            monkeypatch.setattr(health, "SHOP_READY", tmp_path / "ready")
            assert health.main("shop") == 1
            health.SHOP_READY.touch()
            assert health.main("shop") == 0
        with pytest.raises(OSError):
            health.main("shop")


class TestHealth:
    def test_a_check_imports_none_of_airflow(self) -> None:
        code = "import demo.compose.health, sys; print('airflow' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(ROOT / "include")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "False"

    def test_every_check_asks_for_a_part_that_there_is(self) -> None:
        parts = {"metadatabase", "scheduler", "dag_processor", "triggerer", "worker", "shop"}
        asked = {
            each["healthcheck"]["test"][-1]
            for each in airflow_services().values()
            if "healthcheck" in each
        }
        assert asked == parts

    def test_a_broker_that_is_down_is_not_health(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:1/execution/"
        )
        with pytest.raises(OSError):
            health.main("scheduler")


class TestImage:
    TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    def stages(self) -> Iterator[str]:
        yield from re.findall(r"^FROM \S+ AS (\S+)$", self.TEXT, re.MULTILINE)

    def test_every_package_is_installed_by_its_hash(self) -> None:
        installs = re.findall(r"pip install[^&]*", self.TEXT)
        assert installs
        assert all("--require-hashes" in each for each in installs)

    def test_each_stage_ends_as_a_user_without_rights(self) -> None:
        assert list(self.stages()) == ["sinew", "demo"]
        for stage in self.TEXT.split("\nFROM ")[1:3]:
            assert re.findall(r"^USER (\S+)$", stage, re.MULTILINE)[-1] == "50000:0"

    def built(self) -> dict[str, dict[str, Any]]:
        return {name: each for name, each in SERVICES.items() if "build" in each}

    def test_airflow_finds_the_entry_points_of_the_package(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        ((name, value),) = project["entry-points"]["apache_airflow_provider"].items()
        assert f"[apache_airflow_provider]\\n{name} = {value}\\n" in self.TEXT
        assert f"sinew-{project['version']}.dist-info" in self.TEXT
        assert f"Version: {project['version']}\\n" in self.TEXT

    def test_what_compose_builds_are_stages_of_the_image(self) -> None:
        targets = {each["build"]["target"] for each in self.built().values()}
        assert targets == set(self.stages())

    def test_each_image_is_built_for_one_service_alone(self) -> None:
        images = [each["image"] for each in self.built().values()]
        assert sorted(set(images)) == sorted(images)
        assert {each["image"] for each in airflow_services().values()} == set(images)

    def test_what_builds_an_image_comes_before_all_that_run_it(self) -> None:
        users = {n for n, e in SERVICES.items() if e["image"] == SERVICES["init"]["image"]}
        assert "init" in self.built()
        assert all("init" in waited_for(name) for name in users - {"init"})

    def test_the_base_is_the_same_in_both_files(self) -> None:
        base = re.search(r"^ARG BASE_IMAGE=(\S+)$", self.TEXT, re.MULTILINE)
        assert base is not None
        assert f"${{SINEW_BASE_IMAGE:-{base[1]}}}" in TEXT

    def test_the_demos_packages_are_those_of_the_lock(self) -> None:
        wanted = re.search(r"/\^\(([^)]*)\)==/", self.TEXT)
        assert wanted is not None
        lock = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
        assert all(re.search(rf"^{name}==", lock, re.MULTILINE) for name in wanted[1].split("|"))
