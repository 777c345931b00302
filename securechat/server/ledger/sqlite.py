"""The ledger in a file of SQLite's, for one machine. Several daemons may use the same file."""

import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from datetime import date
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from msgspec import MsgspecError, convert
from msgspec.structs import astuple
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from securechat.errors import ConfigurationError
from securechat.files import make_private_directory
from securechat.server.ledger.interface import Entry, LedgerError
from securechat.server.quotas import Counts

VERSION: Final = 1  # of the tables, in the file's user_version
LOCK_TIMEOUT: Final = 2.0  # seconds to wait for another process

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL,
    user TEXT NOT NULL,
    messages INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    estimated_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, user)
) WITHOUT ROWID
"""
_ADD: Final = """
INSERT INTO usage (day, user, messages, calls, prompt_tokens, completion_tokens, estimated_tokens)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, user) DO UPDATE SET
    messages = messages + excluded.messages,
    calls = calls + excluded.calls,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    estimated_tokens = estimated_tokens + excluded.estimated_tokens
"""
_OF_USER: Final = """
SELECT messages, calls, prompt_tokens, completion_tokens, estimated_tokens FROM usage WHERE day = ? AND user = ?
"""
_SINCE: Final = """
SELECT day, user, messages, calls, prompt_tokens, completion_tokens, estimated_tokens FROM usage
WHERE day = (SELECT min(day) FROM usage WHERE day >= ?) ORDER BY user
"""
# The latest days that there are, not the last days before today: a clock that is wrong for a while removes little.
_PRUNE: Final = (
    "DELETE FROM usage WHERE day < (SELECT min(day) FROM (SELECT DISTINCT day FROM usage ORDER BY day DESC LIMIT ?))"
)

T = TypeVar("T")


class _Threads(ThreadPool):
    """One thread, because connections of sqlite3 belong to one. A disk that hangs does not keep the process alive."""

    threadFactory = staticmethod(partial(Thread, daemon=True))  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(1, 1, "ledger")


class SqliteLedger:
    """Reads and writes the file in a thread of its own. After an error, the file is opened anew for the next call."""

    def __init__(
        self, path: Path, reactor: IReactorFromThreads, max_days: int, lock_timeout: float = LOCK_TIMEOUT
    ) -> None:
        """The counters of the latest `max_days` days are kept, of those on which something was counted.

        `lock_timeout` is in seconds. The file is created when it is first needed.
        """
        self._path = path
        self._reactor = reactor
        self._max_days = max_days
        self._lock_timeout = lock_timeout
        self._threads = _Threads()
        self._connection: sqlite3.Connection | None = None
        self._pruned: date | None = None  # the day on which old days were removed last

    def exchange(self, changes: Sequence[Entry], day: date, users: Collection[str]) -> Deferred[Mapping[str, Counts]]:
        """As in Ledger."""
        return self._defer(lambda connection: self._exchange(connection, changes, day, users))

    def usage(self, since: date) -> Deferred[Sequence[Entry]]:
        """As in Ledger."""
        return self._defer(lambda connection: _usage(connection, since))

    def close(self) -> Deferred[None]:
        """As in Ledger."""

        def stop(_closed: object) -> None:
            self._threads.stop()

        if not self._threads.started:
            return succeed(None)
        return deferToThreadPool(self._reactor, self._threads, self._disconnect).addCallback(stop)

    def _defer(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        if not self._threads.started:
            self._threads.start()
        return deferToThreadPool(self._reactor, self._threads, self._run, work)

    # In the thread

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection:  # one transaction
                return work(self._connection)
        except (sqlite3.Error, OSError, ConfigurationError, MsgspecError) as error:
            self._disconnect()
            raise LedgerError(f"{self._path}: {_problem(error)}") from None

    def _connect(self) -> sqlite3.Connection:
        make_private_directory(self._path.parent)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # whatever the umask
        connection = sqlite3.connect(self._path, timeout=self._lock_timeout)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a power failure may lose the last seconds
            with closing(connection.execute("PRAGMA user_version")) as cursor:
                (version,) = cursor.fetchone()
            if version > VERSION:
                raise sqlite3.DatabaseError("made by a newer version of securechat")
            if version < VERSION:
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _exchange(
        self, connection: sqlite3.Connection, changes: Sequence[Entry], day: date, users: Collection[str]
    ) -> dict[str, Counts]:
        rows = [(entry.day.isoformat(), entry.user, *astuple(entry.counts)) for entry in changes]
        connection.executemany(_ADD, sorted(rows))
        if self._pruned != day:
            connection.execute(_PRUNE, (self._max_days,))
            self._pruned = day
        found = {}
        for user in users:
            with closing(connection.execute(_OF_USER, (day.isoformat(), user))) as cursor:
                row = cursor.fetchone()
            if row is not None:
                found[user] = _counts(row)
        return found


def _usage(connection: sqlite3.Connection, since: date) -> list[Entry]:
    rows = connection.execute(_SINCE, (since.isoformat(),))
    return [Entry(convert(day, date), convert(user, str), _counts(counts)) for day, user, *counts in rows]


def _counts(row: Sequence[object]) -> Counts:
    """The counters in a row; MsgspecError if they are none: SQLite stores text in any column."""
    return convert(dict(zip(Counts.__struct_fields__, row, strict=True)), Counts)


def _problem(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
