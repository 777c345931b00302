"""A connection to an HTTP server, between the transport and twisted.web's protocol."""

import select
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IHandshakeListener, IProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse
from zope.interface import implementer

from securechat.robots.http.chunk_filter import ChunkFilter, as_chunk

MAX_HEAD: Final = 128 * 1024  # bytes of a response's head and of the part of the body that arrives with it


class StaleConnectionError(Exception):
    """A connection that had been used before was closed before the first byte of a response.

    The server has most likely closed it while it was idle, so that the request may be sent again (RFC 9112, section
    9.3.1).
    """


@implementer(IHandshakeListener)
class Connection(ProtocolWrapper):
    """Acts as the transport of an HTTP protocol.

    It aborts the connection when the reader of a body calls `stopProducing`, and when the head of a response exceeds
    MAX_HEAD: twisted.web limits the length of header lines, but not their number. The protocol of a stale connection
    loses it with a StaleConnectionError.
    """

    transport: Any
    wrappedProtocol: Any  # twisted.web's HTTP11ClientProtocol, which is in a private module

    def __init__(self, factory: "ConnectionFactory", wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)  # type: ignore[arg-type] # Twisted: of any protocol
        self._checkpoint = factory.checkpoint
        self.ready: Deferred[IProtocol] = Deferred()  # fires with the protocol, after the TLS handshake if there is one
        self.is_aborted = False
        self.requests = 0  # including the present one
        self._is_unanswered = False  # no byte of the response to the present request has arrived
        self._head_left: int | None = None  # bytes; None while a body is being read
        self._chunks: ChunkFilter | None = None  # while the response has to be filtered
        self._waiters: list[Deferred[None]] = []  # for the end of the connection

    def request(self, request: object) -> "Deferred[IResponse]":
        """Send a request, as twisted.web's protocol does."""
        self.requests += 1
        self._is_unanswered = True
        self._chunks = ChunkFilter()
        responding: Deferred[IResponse] = self.wrappedProtocol.request(request)
        return responding.addCallback(_ConnectedResponse, self, self._chunks)

    def read_once(self) -> None:
        """Read what has arrived, at most `bufferSize` of the transport (64 KiB), without waiting for the reactor."""
        if self.transport.doRead() is not None:
            self.transport.resumeProducing()  # it is closed: let the reactor handle that

    def is_readable(self) -> bool:
        """Whether the server has closed the connection or sent bytes that have not been read."""
        poll = select.poll()
        poll.register(self.transport.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Close at once. `loseConnection` would send what is unsent and wait for a TLS peer's close_notify."""
        self.abortConnection()

    def abortConnection(self) -> None:
        """As `abort`, by which name twisted.web knows it."""
        self.is_aborted = True
        self.transport.abortConnection()

    def closed(self) -> "Deferred[None]":
        """Fires when the connection is closed, which after `abort` takes a turn of the reactor."""
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        if not ISSLTransport.providedBy(transport):
            self.ready.callback(self.wrappedProtocol)
        self._checkpoint()

    def handshakeCompleted(self) -> None:
        if not self.ready.called:
            self.ready.callback(self.wrappedProtocol)

    def write(self, data: bytes) -> None:
        self._head_left = MAX_HEAD  # a request, whose response begins with a head
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._head_left = MAX_HEAD
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        self._receive(data)
        self._checkpoint()

    def _receive(self, data: bytes) -> None:
        if self._head_left is not None:
            self._is_unanswered = False
            self._head_left -= len(data)
            if self._head_left < 0:
                self.abort()
                return
        chunks = self._chunks
        if chunks is None:
            self.wrappedProtocol.dataReceived(data)
            return
        before, content, after = chunks.feed(data)
        if not chunks.is_needed:
            self._chunks = None
        if content and chunks.body is None:
            before, content = before + as_chunk(content), b""
        if before:
            self.wrappedProtocol.dataReceived(before)
        if content and chunks.body is not None:
            chunks.body.dataReceived(content)
        if after:
            self.wrappedProtocol.dataReceived(after)

    def resumeProducing(self) -> None:
        """The protocol pauses after the head, and resumes when the body has a reader."""
        self._head_left = None
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Abort, because the rest of a body is not needed. An aborted protocol does not return to the pool."""
        if self.is_aborted:
            return
        self.wrappedProtocol.abort()
        # It would log an exception if it learned of the loss of a connection that ends the body, as in HTTP/1.0.
        self.wrappedProtocol = Protocol()
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ready.called:
            self.ready.errback(reason)
        if self.requests > 1 and self._is_unanswered and not reason.check(ConnectionAborted):
            reason = Failure(StaleConnectionError())
        super().connectionLost(reason)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)


class _ConnectedResponse(proxyForInterface(IResponse)):  # type: ignore[misc] # has no static type
    """A response that tells the protocol of its body which connection it is read from."""

    def __init__(self, response: IResponse, connection: Connection, chunks: ChunkFilter) -> None:
        super().__init__(response)
        self._connection = connection
        self._chunks = chunks  # of this response: a further one on the connection has its own

    def deliverBody(self, protocol: Any) -> None:
        protocol.connection = self._connection
        self._chunks.body = protocol
        self.original.deliverBody(protocol)


class ConnectionFactory(WrappingFactory):
    """Wraps the protocols of a factory in connections. `open_connections` has those that are connected as its keys.

    `checkpoint` is called whenever an event of one of their sockets has been handled.
    """

    noisy = False
    protocol = Connection

    def __init__(self, factory: Any, open_connections: dict[Connection, int], checkpoint: Callable[[], object]) -> None:
        super().__init__(factory)
        self.checkpoint = checkpoint
        factory.noisy = False  # or it would log each connection
        self.protocols = open_connections
