"""Writing at once where that can be, in order where it cannot."""

import socket
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport, ISystemHandle
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import directlyProvides, implementer

from securechat.transport import Writer


@implementer(ISystemHandle)
class SocketTransport(StringTransport):
    """A transport over a real socket, that remembers what it was asked to write."""

    def __init__(self, handle: object) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> object:
        return self.handle


class WriterTests(SynchronousTestCase):
    """A Writer on transports of several kinds."""

    def setUp(self) -> None:
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.near.setblocking(False)

    def test_atOnce(self) -> None:
        """What the socket takes is sent before the call returns, and the transport hears nothing of it."""
        transport = SocketTransport(self.near)
        Writer(cast(Any, transport)).write(b"hello")
        self.assertEqual(self.far.recv(100), b"hello")
        self.assertEqual(transport.value(), b"")

    def test_partly(self) -> None:
        """What a full socket does not take goes through the transport, and so does all that comes after it."""
        transport = SocketTransport(self.near)
        writer = Writer(cast(Any, transport))
        data = bytes(range(256)) * 8192
        writer.write(data)
        rest = transport.value()
        self.assertNotEqual(rest, b"")
        received = b""
        while len(received) < len(data) - len(rest):
            received += self.far.recv(65536)
        self.assertEqual(received + rest, data)
        writer.write(b"next")
        self.assertEqual(transport.value(), rest + b"next")

    def test_gone(self) -> None:
        """A socket whose other end is gone is the transport's to find out about."""
        transport = SocketTransport(self.near)
        self.far.close()
        Writer(cast(Any, transport)).write(b"hello")
        self.assertEqual(transport.value(), b"hello")

    def test_otherTransports(self) -> None:
        """TLS, and what has no socket, is written to as usual."""
        tls = SocketTransport(self.near)  # its socket carries something else than what is written
        directlyProvides(tls, ISSLTransport, ISystemHandle)
        for transport in (tls, SocketTransport(object()), StringTransport()):
            Writer(cast(Any, transport)).write(b"hello")
            self.assertEqual(transport.value(), b"hello")


class RealTransportTests(TestCase):
    """A Writer on Twisted's own TCP transport."""

    async def test_order(self) -> None:
        """Megabytes to a client that reads late arrive whole and in order."""
        data = [bytes([number]) * 100_000 for number in range(60)]
        ended: Deferred[None] = Deferred()

        class Sender(Protocol):
            def connectionMade(self) -> None:
                writer = Writer(cast(Any, self.transport))
                for part in data:
                    writer.write(part)
                cast(Any, self.transport).loseConnection()

            def connectionLost(self, reason: Any = None) -> None:
                ended.callback(None)

        port = cast(Any, reactor).listenTCP(0, Factory.forProtocol(Sender), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        with socket.create_connection(("127.0.0.1", port.getHost().port)) as client:
            client.setblocking(False)
            received = b""
            while True:
                await deferLater(cast(Any, reactor), 0.001)
                try:
                    more = client.recv(1 << 20)
                except BlockingIOError:
                    continue
                if not more:
                    break
                received += more
        await ended
        self.assertEqual(received, b"".join(data))
