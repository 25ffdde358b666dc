"""Airflow on this machine: its folder, its settings, its metadata, and its REST API."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from demo.stack.airflow_settings import USER, as_environment, settings
from demo.stack.errors import StackError
from demo.stack.files import read_json, write_json, write_private
from demo.stack.ports import HOST, first_free, is_free
from demo.stack.postgres import EmbeddedPostgres

COMPONENTS = {
    "api-server": ["api-server"],
    # The logs lie on this machine: the API server reads the files, no process needs to serve them.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}
DATABASE = "airflow"
_FIRST_PORT = 8080
# The loopback address must never be asked for through a proxy.
_opener = build_opener(ProxyHandler({}))


class AirflowService:
    """One Airflow: ``home`` takes all that it writes, ``repository`` has dags/ and plugins/."""

    def __init__(self, home: Path, repository: Path, postgres: EmbeddedPostgres) -> None:
        self.home = home
        self.repository = repository
        self._postgres = postgres
        self._token: str | None = None

    # ------------------------------------------------------------------ settings

    def env(self) -> dict[str, str]:
        """The whole environment of an ``airflow`` command; it has secrets in it."""
        sections = settings(
            repository=self.repository,
            home=self.home,
            port=self.port,
            database_uri=self._database_uri(),
            secrets=self._secrets(),
        )
        return self._plain_environment() | as_environment(sections)

    def _plain_environment(self) -> dict[str, str]:
        # Settings of another Airflow in the caller's shell must not leak in.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PG"))}
        # Each start and each task loads 1,500 modules: 3 s of compiling if none are kept.
        if kept.pop("PYTHONDONTWRITEBYTECODE", None):
            kept.setdefault("PYTHONPYCACHEPREFIX", str(self.home.parent / "pycache"))
        here = [str(self.repository / "plugins"), str(self.repository / "include")]
        programs = str(Path(sys.executable).parent)
        local = "127.0.0.1,localhost"
        return kept | {
            "AIRFLOW_HOME": str(self.home),
            "MALLOC_ARENA_MAX": "2",  # halves what glibc keeps in processes with many threads
            "NO_PROXY": local,
            "no_proxy": local,
            "PATH": os.pathsep.join([programs, kept.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(here),
            "SODA_CORE_TELEMETRY_ENABLED": "false",
        }

    def _database_uri(self) -> str:
        password = quote(self._postgres.password(DATABASE), safe="")
        address = f"{HOST}:{self._postgres.port}"
        return f"postgresql+psycopg2://{DATABASE}:{password}@{address}/{DATABASE}"

    def _secrets(self) -> dict[str, str]:
        file = self.home / "secrets.json"
        found = read_json(file)
        if not found:
            found = {
                "fernet_key": urlsafe_b64encode(os.urandom(32)).decode("ascii"),
                "jwt_secret": secrets.token_urlsafe(48),
                "secret_key": secrets.token_urlsafe(48),
            }
            write_json(file, found)
        return found

    @property
    def port(self) -> int:
        """The port of the UI and the API."""
        return int(read_json(self.home / "server.json").get("port", _FIRST_PORT))

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://{HOST}:{self.port}"

    @property
    def password(self) -> str:
        """The password of the user ``admin``."""
        return str(read_json(self.home / "passwords.json")[USER])

    # ------------------------------------------------------------------ making it ready

    def claim_port(self) -> None:
        """Keep the last port if it is free, else take the first free one from 8080 on."""
        port = self.port if is_free(self.port) else first_free(_FIRST_PORT)
        write_json(self.home / "server.json", {"port": port})

    def ensure_password(self) -> bool:
        """Make the password of the user ``admin``; False if there was one."""
        file = self.home / "passwords.json"
        if read_json(file).get(USER):
            return False
        # Airflow reads this file, and would print a password that it had to make itself to a log.
        write_json(file, {USER: secrets.token_urlsafe(12)})
        return True

    def migrate(self, fresh: bool) -> None:
        """Bring the metadata database to this Airflow's version; no effect if it is there."""
        file = self.home / "metadata.json"
        done = {"requirements": _digest((self.repository / "requirements.txt").read_text("utf-8"))}
        if fresh or read_json(file) != done:
            self.run("db", "migrate")
            write_json(file, done)

    def store_connections(
        self,
        connections: Mapping[str, Mapping[str, Any]],
        fresh: bool,
        name: str = "connections",
    ) -> None:
        """Write connections to the metadata database, encrypted there; at once if none changed.

        ``name`` tells sets of connections apart that are written on their own.
        """
        text = json.dumps(connections, sort_keys=True)
        file = self.home / f"{name}.json"
        done = {"sha256": _digest(text)}
        if not fresh and read_json(file) == done:
            return
        handover = self.home / "handover.json"
        write_private(handover, text)
        try:
            self.run("connections", "import", "--overwrite", str(handover))
        finally:
            handover.unlink()
        write_json(file, done)

    def run(self, *arguments: str) -> str:
        """Run one ``airflow`` command and return what it printed."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.env(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(
                f"`airflow {arguments[0]}` failed with exit code {done.returncode}:\n"
                f"{(done.stdout + done.stderr)[-2000:]}"
            )
        return done.stdout

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """An ``airflow`` command line of this environment."""
        return [sys.executable, "-m", "airflow", *arguments]

    # ------------------------------------------------------------------ its API

    def health(self) -> dict[str, str]:
        """The state of each component as Airflow sees it: healthy, unhealthy or unknown."""
        try:
            answer = self._request("GET", "/api/v2/monitor/health", None, {})
        except StackError:
            return {}
        return {name: str(part.get("status")) for name, part in answer.items()}

    def token(self) -> str:
        """A new token of the user ``admin`` for the REST API, good for a day."""
        body = {"username": USER, "password": self.password}
        return str(self._request("POST", "/auth/token", body, {})["access_token"])

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the REST API as ``admin`` and return the decoded answer; None if it is empty.

        ``path`` starts with ``/api/v2/``. Any status of 400 and above raises `StackError`.
        """
        self._token = self._token or self.token()
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._request(method, path, body, headers)

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Any:
        data = None if body is None else json.dumps(body).encode()
        every = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        request = Request(self.url + path, data=data, headers=every, method=method)
        try:
            with _opener.open(request, timeout=30) as answer:
                text = answer.read()
        except HTTPError as error:
            detail = error.read().decode(errors="replace")[:1000]
            raise StackError(f"{method} {path} answered {error.code}: {detail}") from None
        except (URLError, OSError) as error:
            raise StackError(
                f"Airflow does not answer at {self.url}: {error}. Run `make up`."
            ) from None
        return json.loads(text) if text else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
