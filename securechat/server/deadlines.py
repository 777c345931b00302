"""Time limits for a record or message that has begun to arrive (protocol, section 13)."""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.errors import Category
from securechat.wire.server_connection import ServerConnection

RECORD_TIME: Final = 30.0  # seconds from a record's first byte to its last
MESSAGE_TIME: Final = 60.0  # seconds from a message's first chunk to its last …
MESSAGE_RATE: Final = 16 * 1024  # … and one more for each of so many bytes


class Deadlines:
    """Watches what a client has begun to send. There is a timer only while something is incomplete."""

    __slots__ = (
        "_abort",
        "_call",
        "_clock",
        "_connection",
        "_message",
        "_message_start",
        "_paused_at",
        "_record",
        "_record_start",
    )

    def __init__(self, connection: ServerConnection, clock: IReactorTime, abort: Callable[[Category], object]) -> None:
        """`abort` is called when something is not complete in time."""
        self._connection = connection
        self._clock = clock
        self._abort = abort
        self._call: IDelayedCall | None = None
        self._record = -1  # number of the record that began to arrive last
        self._record_start = 0.0
        self._message = 0  # number of the message or RECALL that began to arrive last
        self._message_start = 0.0
        self._paused_at: float | None = None

    def data_read(self) -> None:
        """The connection has processed what was read."""
        connection = self._connection
        if not connection.has_partial_record and not connection.message_size:
            return
        now = self._clock.seconds()
        if connection.has_partial_record and connection.records_received != self._record:
            self._record = connection.records_received
            self._record_start = now
        if connection.message_size and connection.messages_begun != self._message:
            self._message = connection.messages_begun
            self._message_start = now
        if self._paused_at is None:
            self._wait()

    def pause(self) -> None:
        """The client is not read for now: time stands still."""
        self.stop()
        self._paused_at = self._clock.seconds()

    def resume(self) -> None:
        """The client is read again."""
        if self._paused_at is not None:
            paused = self._clock.seconds() - self._paused_at
            self._record_start += paused
            self._message_start += paused
            self._paused_at = None
            self._wait()

    def stop(self) -> None:
        """Watch nothing until more data is read."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def close(self) -> None:
        """The connection is closed. Drop what refers to it, so that it is freed without the garbage collector."""
        self.stop()
        del self._abort

    def _due(self) -> float | None:
        """When the first of what is incomplete now is late; None if nothing is incomplete."""
        connection = self._connection
        due = []
        if connection.has_partial_record:
            due.append(self._record_start + RECORD_TIME)
        if connection.message_size:
            due.append(self._message_start + MESSAGE_TIME + connection.message_size / MESSAGE_RATE)
        return min(due, default=None)

    def _wait(self) -> None:
        due = self._due()
        if due is None:
            return
        if self._call is not None:
            if self._call.getTime() <= due:
                return  # it will wait on: a timer is not moved with each read
            self._call.cancel()
        self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._check)

    def _check(self) -> None:
        self._call = None
        due = self._due()
        if due is not None and due <= self._clock.seconds():
            self._abort(Category.TIMEOUT)
        else:
            self._wait()
