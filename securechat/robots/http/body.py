"""The body of an HTTP response, read on demand."""

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from securechat.errors import Fault, RobotError
from securechat.i18n import _


class Body(Protocol):
    """Receives the bytes of a body. The connection is paused while there is no reader."""

    _producer: IPushProducer

    def __init__(self) -> None:
        self._received: list[bytes] = []  # at most one read of the transport, and what arrived with the head
        self._is_over = False
        self._error: RobotError | None = None  # if it was truncated
        self._reader: Deferred[bytes] | None = None

    def connectionMade(self) -> None:
        self._producer = cast(IPushProducer, self.transport)

    def dataReceived(self, data: bytes) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(data)
        else:
            self._received.append(data)
            self._producer.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_over = True
        if not reason.check(ResponseDone, PotentialDataLoss):  # the latter if its end is that of the connection
            self._error = RobotError(Fault.BROKEN_ANSWER, _("the response was truncated"))
        reader, self._reader = self._reader, None
        if reader is None:
            return
        if self._error is not None:
            reader.errback(self._error)
        else:
            reader.callback(b"")

    def read(self) -> "Deferred[bytes]":
        """The next bytes; empty at the end of the body. RobotError (broken answer) if it was truncated.

        No bytes are lost if it is cancelled: the next read returns them.
        """
        reader: Deferred[bytes] = Deferred(self._pause)
        if self._received:
            data = b"".join(self._received)
            self._received.clear()
            reader.callback(data)
        elif self._error is not None:
            reader.errback(self._error)
        elif self._is_over:
            reader.callback(b"")
        else:
            self._reader = reader
            self._producer.resumeProducing()  # may call `dataReceived`
        return reader

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
