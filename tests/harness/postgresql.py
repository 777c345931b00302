"""A PostgreSQL server of a test's own, in a temporary directory, reached by a UNIX socket only."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

import psycopg

USER = "securechat"  # the daemon's role, which owns the database and has no other rights
_ADMIN = "admin"
_LIMIT = 60.0  # seconds for a program
_OPTIONS = "-c listen_addresses='' -c fsync=off -c log_min_messages=log"


@cache
def _programs() -> Path | None:
    """The directory of PostgreSQL's programs; Debian keeps them outside PATH."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += map(Path, sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True))
    return next((path for path in candidates if (path / "pg_ctl").exists()), None)


def why_not() -> str | None:
    """The reason for skipping tests, for their attribute `skip`; None if there is a PostgreSQL."""
    if _programs() is None:
        return "PostgreSQL (initdb, pg_ctl) is not installed"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("nobody")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user nobody"
    return None


class PostgreSQL:
    """A server with an empty database. End it with `remove`."""

    def __init__(self) -> None:
        """Create the files, and start the server."""
        self.directory = Path(tempfile.mkdtemp())  # the paths of sockets have to be short
        self._data = self.directory / "data"
        if os.geteuid() == 0:
            self.directory.chmod(0o755)
            shutil.chown(self.directory, "nobody")
        self._run("initdb", "--no-sync", "--auth=trust", f"--username={_ADMIN}", "--encoding=UTF8", "--locale=C")
        self.start()
        self.query(f"CREATE ROLE {USER} LOGIN", _ADMIN, "postgres")
        self.query(f"CREATE DATABASE {USER} OWNER {USER}", _ADMIN, "postgres")

    @property
    def uri(self) -> str:
        return self.uri_at(self.directory)

    def uri_at(self, directory: Path) -> str:
        """The URI of the database through a socket in another directory."""
        return f"postgresql://{USER}@/{USER}?host={directory}"

    @property
    def socket(self) -> Path:
        return self.directory / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start the server; it accepts connections when this returns."""
        self._control("start", "-o", f"{_OPTIONS} -k {self.directory}")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server, by default with the connections that are open; mode "immediate" is a crash."""
        self._control("stop", "-m", mode)

    def remove(self) -> None:
        """Stop the server, and remove its files."""
        with suppress(subprocess.CalledProcessError):  # not running
            self.stop("immediate")
        shutil.rmtree(self.directory)

    def query(self, statement: str, user: str = USER, database: str = USER) -> list[tuple[Any, ...]]:
        """The rows of a statement's result. It blocks the reactor."""
        with psycopg.connect(host=str(self.directory), user=user, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def messages(self) -> dict[str, int]:
        """The messages of all days by user; empty before a daemon has created the tables."""
        if self.query("SELECT to_regclass('usage')") == [(None,)]:
            return {}
        return dict(self.query("SELECT name, sum(messages)::bigint FROM usage GROUP BY name"))

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "--wait", "--silent", "--log", str(self.directory / "log"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        programs = _programs()
        assert programs is not None
        user: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        subprocess.run(
            [programs / program, "--pgdata", self._data, *arguments],
            cwd="/",
            check=True,
            timeout=_LIMIT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **(user if os.geteuid() == 0 else {}),
        )
