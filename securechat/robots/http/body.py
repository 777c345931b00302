"""The body of an HTTP response, read on demand."""

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from securechat.errors import Fault, RobotError
from securechat.robots.http.connection import Connection


class Body(Protocol):
    """Receives the bytes of a body. The connection is paused while there is no reader, or until `poll` is called."""

    connection: Connection  # set before the body is delivered
    _producer: IPushProducer

    def __init__(self) -> None:
        self._received: list[bytes] = []  # at most one read of the transport, and what arrived with the head
        self._is_over = False
        self._is_truncated = False
        self._reader: Deferred[bytes] | None = None
        self._is_polled = False  # the connection is read only when `poll` is called
        self._is_in_poll = False  # until the end of a poll, all that it brings is collected

    def connectionMade(self) -> None:
        self._producer = cast(IPushProducer, self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._received.append(data)
        if self._is_in_poll:
            return
        if self._reader is None:
            self._producer.pauseProducing()
        self._serve()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_over = True
        # PotentialDataLoss if the end of the body is that of the connection.
        self._is_truncated = not reason.check(ResponseDone, PotentialDataLoss)
        self._serve()

    def read(self) -> "Deferred[bytes]":
        """The next bytes; empty at the end of the body. RobotError (broken answer) if it was truncated.

        No bytes are lost if it is cancelled: the next read returns them.
        """
        reader = self._reader = Deferred(self._pause)
        self._serve()
        if self._reader is not None and not self._is_polled:
            self._producer.resumeProducing()  # may call `dataReceived`
        return reader

    def poll_only(self) -> None:
        """From now on, read from the connection only when `poll` is called."""
        self._is_polled = True
        self._producer.pauseProducing()

    def poll(self) -> None:
        """Read once from the connection, without waiting, if there is a reader and nothing for it yet."""
        if self._reader is None:
            return
        self._is_in_poll = True
        try:
            self.connection.read_once()
        finally:
            self._is_in_poll = False
        self._serve()

    def _serve(self) -> None:
        """Give the reader what it waits for, if that has arrived."""
        reader = self._reader
        if reader is None or not (self._received or self._is_over):
            return
        self._reader = None
        if not self._received and self._is_truncated:
            # An error that is kept here would refer to the frames it passed through, and they to this.
            reader.errback(RobotError(Fault.BROKEN_ANSWER, "the response was truncated"))
            return
        data = b"".join(self._received)
        self._received.clear()
        reader.callback(data)

    def fail(self, error: RobotError) -> None:
        """Let the present read, if there is one, fail with this error."""
        reader = self._reader
        if reader is not None:
            self._pause(reader)
            reader.errback(error)

    def close(self) -> None:
        """Abort the connection, unless the body is over."""
        self._producer.stopProducing()

    def _pause(self, _reader: "Deferred[bytes]") -> None:
        self._reader = None
        self._producer.pauseProducing()
