"""A connection to an HTTP server, between its transport and twisted.web's protocol."""

from collections.abc import Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IProtocol, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_HEAD: Final = 128 * 1024  # bytes of a response's head, and of the part of its body that arrives with it


@implementer(IHandshakeListener)
class Connection(ProtocolWrapper):
    """The transport of one of twisted.web's HTTP protocols.

    It differs from the real transport in two ways: `stopProducing` closes the connection at once, and a response whose
    head is larger than MAX_HEAD does so, too. twisted.web limits the length of a header line, but not their number.
    """

    transport: Any
    wrappedProtocol: Any  # twisted.web's HTTP11ClientProtocol, whose module is private

    def __init__(self, factory: "WrappingFactory[Connection]", wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self.ready: Deferred[IProtocol] = Deferred()  # fires with the HTTP protocol, after the TLS handshake if any
        self._head_left: int | None = None  # bytes; None while a body is read

    def abort(self) -> None:
        """Close at once: `loseConnection` would wait until everything is sent, and for a TLS peer's close_notify."""
        self.abortConnection()

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        if not ISSLTransport.providedBy(transport):
            self.ready.callback(self.wrappedProtocol)

    def handshakeCompleted(self) -> None:
        if not self.ready.called:
            self.ready.callback(self.wrappedProtocol)

    def write(self, data: bytes) -> None:
        self._head_left = MAX_HEAD  # the answer to this request begins with a head
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._head_left = MAX_HEAD
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        if self._head_left is not None:
            self._head_left -= len(data)
            if self._head_left < 0:
                self.abort()
                return
        self.wrappedProtocol.dataReceived(data)

    def resumeProducing(self) -> None:
        """Read on. twisted.web pauses after a head; this is called when its body is read."""
        self._head_left = None
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The rest of a body is not needed. The protocol is told, so that it does not go back into the pool."""
        self.wrappedProtocol.abort()
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ready.called:
            self.ready.errback(reason)
        super().connectionLost(reason)


class ConnectionFactory(WrappingFactory):
    """Wraps the protocols of a factory. Adds each to `open_connections` for as long as it is connected."""

    noisy = False
    protocol = Connection

    def __init__(self, factory: Any, open_connections: dict[Connection, int]) -> None:
        super().__init__(factory)
        factory.noisy = False  # or it would log each connection
        self.protocols = open_connections
