"""Connections to PostgreSQL, used by threads.

Timeouts bound every step, so that a database or a network that fails is noticed within seconds. A connection that the
server has closed, or that an error has broken, is replaced before the next transaction.
"""

import re
import select
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, Final, TypeVar

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier
from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.server.ledger.interface import LedgerError
from securechat.server.ledger.postgresql.migrations import migrate
from securechat.server.ledger.uri import without_parameters

MAX_CONNECTIONS: Final = 4
MAX_PROBLEM: Final = 200  # characters of an error message in the log
_DEFAULTS: Final = {  # parameters of libpq, unless the URI has others
    "connect_timeout": 3,  # seconds for each address
    "tcp_user_timeout": 5000,  # milliseconds without an acknowledgement
    "keepalives_idle": 10,  # seconds; detects that the machine of the database has failed
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "application_name": "securechat",
}
# The last one releases the locks of a daemon whose machine has failed within a transaction, which others wait for.
_TIMEOUTS: Final = "SET statement_timeout = '3s'; SET idle_in_transaction_session_timeout = '10s'"
_PREFIX: Final = re.compile(r"connection (failed|is bad): (?=connection )")  # psycopg's, before that of libpq

T = TypeVar("T")


class _Connection(adbapi.Connection):
    """A connection that is closed if it turns out to be broken, without being reported twice."""

    def rollback(self) -> None:
        """End the transaction. The pool logs a traceback if this fails, and the error has its own log line."""
        connection = self._connection
        assert connection is not None
        try:
            connection.rollback()
        except psycopg.Error:
            self._pool.disconnect(connection)


class _Pool(adbapi.ConnectionPool):
    connectionFactory = _Connection

    def start(self) -> None:
        """Start the threads. A database that hangs does not keep the process alive."""
        if not self.running:
            self.threadpool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
            self.threadpool.start()
            self.running = True

    def connect(self) -> Connection[Any]:
        """The connection of this thread, a new one if the server has closed it since it was last used."""
        connection: Connection[Any] | None = self.connections.get(self.threadID())
        if connection is not None and _is_closed(connection):
            self.disconnect(connection)
        opened: Connection[Any] = super().connect()
        return opened


class Database:
    """A database whose tables are up to date."""

    def __init__(self, uri: str, password: str | None, reactor: Any) -> None:
        """`uri` is one of libpq's, without a password; ConfigurationError if it is not valid. No connection is made."""
        try:
            given = conninfo_to_dict(uri)
        except psycopg.Error as error:
            raise ConfigurationError(_("--ledger: {problem}").format(problem=_problem(error))) from None
        self.name = without_parameters(uri)
        self.parameters: dict[str, Any] = {**_DEFAULTS, **given, **({} if password is None else {"password": password})}
        self._reactor = reactor
        self._pool: _Pool | None = None
        self._is_current = False  # the tables

    def __repr__(self) -> str:
        return f"<Database {self.name}>"

    def run(self, work: Callable[[Connection[Any]], T]) -> Deferred[T]:
        """Do some work in a thread, within a transaction; LedgerError if that fails.

        It is not known then whether the transaction was committed.
        """
        done: Deferred[T] = self._open_pool().runWithConnection(work)
        return done.addErrback(self._failed)

    def listen(self, channel: str) -> Deferred[Connection[Any]]:
        """A connection, which the caller closes, to which the server reports NOTIFY; LedgerError."""
        threads = self._open_pool().threadpool
        return deferToThreadPool(self._reactor, threads, self._listen, channel).addErrback(self._failed)

    def _open_pool(self) -> _Pool:
        if self._pool is None:
            self._pool = _Pool(
                "psycopg",
                **self.parameters,
                cp_min=1,
                cp_max=MAX_CONNECTIONS - 1,  # one connection listens for NOTIFY
                cp_reconnect=True,
                cp_openfun=self._opened,
                cp_reactor=self._reactor,
            )
        return self._pool

    def _failed(self, failure: Failure) -> Any:
        error = failure.value
        if isinstance(error, (psycopg.Error, LedgerError)):
            raise LedgerError(f"{self.name}: {_problem(error)}") from None
        return failure

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    # In a thread

    def _listen(self, channel: str) -> Connection[Any]:
        connection: Connection[Any] = psycopg.connect(**self.parameters, autocommit=True)
        try:
            connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened(self, connection: Connection[Any]) -> None:
        try:
            connection.autocommit = True
            connection.execute(_TIMEOUTS)
            connection.autocommit = False
            if not self._is_current:
                migrate(connection)
                connection.commit()
                self._is_current = True
        except BaseException:
            connection.close()
            raise


def _is_closed(connection: Connection[Any]) -> bool:
    """Whether the server has closed an idle connection, on which it sends nothing else."""
    if connection.closed:
        return True
    idle = select.poll()  # select.select is limited to 1,024 files
    idle.register(connection.fileno(), select.POLLIN)
    return bool(idle.poll(0))


def _problem(error: BaseException) -> str:
    """One line."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = (primary or str(error)).strip().splitlines() or [type(error).__name__]
    return _PREFIX.sub("", lines[0])[:MAX_PROBLEM]
