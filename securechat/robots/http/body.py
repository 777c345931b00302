"""The body of an HTTP response, read no faster than it is asked for, and no further than it may go."""

import zlib
from collections.abc import Sequence
from typing import Any, Final
from typing import Protocol as Shape

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from securechat.errors import Fault, RobotError
from securechat.i18n import _

MAX_PIECE: Final = 64 * 1024  # bytes that are decompressed at once

_GZIP: Final = zlib.MAX_WBITS | 16  # zlib's way to say "with gzip's header"


@implementer(IBodyProducer)
class Bytes:
    """A request's body that is written at once. Twisted's own takes it in pieces, and cancelled in between leaves a
    connection whose state nobody knows."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class Body(Protocol):
    """Bytes as they come off the network. The connection is paused while there are some that nobody asked for."""

    def __init__(self) -> None:
        self._received: list[bytes] = []  # one read of the transport at most, unless it came with the head
        self._end: RobotError | None = None
        self._wanted: Deferred[bytes] | None = None
        self.is_over = False

    def dataReceived(self, data: bytes) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.callback(data)
        else:
            self._received.append(data)
            self._transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_over = True
        if not reason.check(ResponseDone, PotentialDataLoss):  # the latter: a body whose end is the connection's
            self._end = RobotError(Fault.BROKEN_ANSWER, _("the answer was cut"))
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        if self._end is not None:
            wanted.errback(self._end)
        else:
            wanted.callback(b"")

    def read(self) -> "Deferred[bytes]":
        """What comes next; nothing at the end; RobotError (broken answer) if it was cut.

        Cancelled, it loses nothing: what comes then is for the next who asks.
        """
        wanted: Deferred[bytes] = Deferred(self._forget)
        if self._received:
            data = b"".join(self._received)
            self._received.clear()
            wanted.callback(data)
        elif self._end is not None:
            wanted.errback(self._end)
        elif self.is_over:
            wanted.callback(b"")
        else:
            self._wanted = wanted
            self._transport.resumeProducing()  # which may call `dataReceived`
        return wanted

    def give_up(self, error: RobotError) -> None:
        """Who waits for bytes, if anybody does, gets this instead."""
        wanted = self._wanted
        if wanted is not None:
            self._forget(wanted)
            wanted.errback(error)

    def _forget(self, _wanted: "Deferred[bytes]") -> None:
        self._wanted = None
        self._transport.pauseProducing()

    @property
    def _transport(self) -> Any:
        return self.transport


class ContentDecoder(Shape):
    """Undoes a content coding."""

    def feed(self, data: bytes) -> None:
        """More came."""

    def take(self) -> bytes:
        """What can be had of it, a piece at a time; nothing if more is needed. RobotError (broken answer)."""

    def finish(self) -> None:
        """No more comes; RobotError (broken answer) if that is too early."""


class _Identity:
    """No compression."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def finish(self) -> None:
        pass


class _Gzip:
    """Decompresses a piece at a time: a few bytes may hold more than memory does."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._data = b""
        self._more = False  # there may be output without further input

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        while self._data or self._more:
            if self._inflate.eof:  # another member follows
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                data = self._inflate.decompress(self._data, MAX_PIECE)
            except zlib.error:
                raise RobotError(Fault.BROKEN_ANSWER, _("the answer is no gzip")) from None
            self._data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._more = len(data) == MAX_PIECE and not self._inflate.eof
            if data:
                return bytes(data)
        return b""

    def finish(self) -> None:
        if not self._inflate.eof:
            raise RobotError(Fault.BROKEN_ANSWER, _("the answer was cut"))


def coding_of(header: Sequence[bytes]) -> ContentDecoder:
    """What the server did to the body, undone; RobotError (broken answer) if we do not know how.

    We ask for no compression; there are servers and proxies that do it nevertheless.
    """
    codings = [
        coding.strip().lower()
        for value in header
        for coding in value.split(b",")
        if coding.strip().lower() not in (b"", b"identity")
    ]
    if not codings:
        return _Identity()
    if codings in ([b"gzip"], [b"x-gzip"]):
        return _Gzip()
    raise RobotError(Fault.BROKEN_ANSWER, _("the answer is compressed in a way that was not asked for"))
