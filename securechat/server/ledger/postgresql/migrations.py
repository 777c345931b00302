"""The tables, which are created and changed by numbered files of SQL.

A file that was released is never changed: a later change is a file with the next number. Daemons of the previous
version may still be running, so it must not affect them.
"""

from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from psycopg import Connection

from securechat.server.ledger.interface import LedgerError

_LOCK: Final = 0x5365_6375_7265_4C65  # the key of the advisory lock that daemons hold while they change tables
_FOLDER: Final = "sql"  # beside this module

_LOOK: Final = "SELECT to_regclass('migration') IS NOT NULL"
_VERSION: Final = "SELECT coalesce(max(number), 0) FROM migration"
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
)


class Migration(NamedTuple):
    """One file."""

    number: int
    statements: bytes


@cache
def migrations() -> tuple[Migration, ...]:
    """All of them, by number."""
    folder = files(__package__) / _FOLDER
    found = (file for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple(sorted(Migration(int(file.name.partition("_")[0]), file.read_bytes()) for file in found))


def migrate(connection: Connection[Any]) -> None:
    """Apply the migrations that the database does not have; LedgerError if it has some that this program does not.

    The caller commits. Other daemons wait meanwhile.
    """
    newest = migrations()[-1].number
    version = _version(connection) if _exists(connection) else 0
    if version < newest:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute("SET LOCAL statement_timeout = 0")  # a large table may take a while to change
        connection.execute(_TABLE)
        version = _version(connection)  # another daemon may have applied them first
        for migration in migrations():
            if migration.number > version:
                connection.execute(migration.statements)
                connection.execute("INSERT INTO migration (number) VALUES (%s)", (migration.number,))
    elif version > newest:
        raise LedgerError("the tables were made by a newer version of securechat")


def _exists(connection: Connection[Any]) -> bool:
    """Whether there is a table of migrations: CREATE TABLE IF NOT EXISTS needs rights even if there is one."""
    return connection.execute(_LOOK).fetchone() == (True,)


def _version(connection: Connection[Any]) -> int:
    """The number of the last migration; 0 before the first one."""
    row = connection.execute(_VERSION).fetchone()
    return int(row[0]) if row is not None else 0
