"""Notices between the daemons that share a database: rows of a table, in the order of their numbers.

NOTIFY makes the other daemons read new rows at once. They also read them every second, so that a lost connection loses
no notice, and a daemon that could not reach the database catches up.
"""

import os
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import Connection
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.server.ledger.interface import LedgerError
from securechat.server.ledger.postgresql.database import Database

log = Logger()

INTERVAL: Final = 1.0  # seconds from one reading of the table to the next
CHANNEL: Final = "securechat"

# The lock makes the order of numbers that of commits: a reader that has seen a number misses none below it.
_LOCK: Final = "LOCK TABLE notice IN SHARE ROW EXCLUSIVE MODE"
_SEND: Final = "INSERT INTO notice (daemon, action, name) VALUES (%s, %s, %s)"
_PRUNE: Final = "DELETE FROM notice WHERE made < now() - interval '1 day'"
_NOTIFY: Final = f"NOTIFY {CHANNEL}"
# Notices made since this daemon was started, by the clock of the database alone.
_READ: Final = """
SELECT number, action, name FROM notice
WHERE number > %s AND daemon <> %s AND made > now() - make_interval(secs => %s) ORDER BY number
"""


@implementer(IReadDescriptor)
class _Listener:
    """A connection on which the server reports NOTIFY, read by the reactor."""

    def __init__(self, connection: Connection[Any], heard: Callable[[], None]) -> None:
        self.connection = connection
        self.is_lost = False
        self._heard = heard
        # libpq closes its own when the connection is lost, and the reactor would watch another file by that number.
        self._descriptor = os.dup(connection.fileno())

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """Close the connection, which the reactor does not read any more."""
        self.is_lost = True
        self.connection.close()
        os.close(self._descriptor)

    def doRead(self) -> Exception | None:  # type: ignore[override]  # as Twisted's own connections do
        """An error if the connection is lost; the reactor then calls connectionLost."""
        pgconn = self.connection.pgconn
        try:
            pgconn.consume_input()
        except psycopg.Error as error:
            return error
        heard = False
        while pgconn.notifies() is not None:
            heard = True
        if heard:
            self._heard()
        return None

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "ledger"


class PostgresNotices:
    """Sends notices, and acts on those of other daemons."""

    def __init__(
        self,
        database: Database,
        reactor: Any,
        clock: IReactorTime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._reactor = reactor
        self._monotonic = monotonic
        self._started = monotonic()
        self._daemon = uuid4()
        self._last = 0  # number of the last notice that was read
        self._listener: _Listener | None = None
        self._act: Callable[[str, str], None] | None = None
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self, act: Callable[[str, str], None]) -> None:
        """From now on, call `act` with the action and the name of each notice of another daemon."""
        self._act = act
        self._loop.start(INTERVAL)

    def stop(self) -> None:
        """Ignore further notices. The database is closed by its owner."""
        self._act = None
        if self._loop.running:
            self._loop.stop()
        listener, self._listener = self._listener, None
        if listener is not None and not listener.is_lost:
            self._reactor.removeReader(listener)
            listener.close()

    def send(self, action: str, name: str) -> Deferred[None]:
        """Send a notice to the other daemons; LedgerError if that is not possible."""

        def insert(connection: Connection[Any]) -> None:
            connection.execute(_LOCK)
            connection.execute(_PRUNE)
            connection.execute(_SEND, (self._daemon, action, name))
            connection.execute(_NOTIFY)

        return self._database.run(insert)

    async def _look(self) -> None:
        """Begin to listen if necessary, and read new notices. Errors are those of the ledger, which logs them."""
        try:
            if self._listener is None or self._listener.is_lost:
                await self._listen()
            await self._read()
        except CancelledError:
            raise
        except LedgerError:
            pass
        except Exception:
            log.failure("unhandled error while reading notices")

    async def _listen(self) -> None:
        connection = await self._database.listen(CHANNEL)
        if self._act is None:  # stopped meanwhile
            connection.close()
            return
        self._listener = _Listener(connection, self._heard)
        self._reactor.addReader(self._listener)

    def _heard(self) -> None:
        """Read new notices, even if that is in progress already: it may have begun too early."""
        Deferred.fromCoroutine(self._look())

    async def _read(self) -> None:
        age = self._monotonic() - self._started
        arguments = (self._last, self._daemon, age)
        rows = await self._database.run(lambda connection: connection.execute(_READ, arguments).fetchall())
        for number, action, name in rows:
            if number > self._last and self._act is not None:  # another call may have read it first
                self._last = number
                self._act(action, name)
