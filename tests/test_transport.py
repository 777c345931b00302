"""The Writer: direct writes where possible, in order."""

import select
import socket
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport, ISystemHandle, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import directlyProvides, implementer

from securechat.transport import Writer, peer_has_closed, tune


@implementer(ISystemHandle)
class SocketTransport(StringTransport):
    """A transport with a real socket that records what is written to it."""

    def __init__(self, handle: object) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> object:
        return self.handle


class WriterTests(SynchronousTestCase):
    """A Writer on several kinds of transport."""

    def setUp(self) -> None:
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.near.setblocking(False)

    def test_atOnce(self) -> None:
        """Data is sent to the socket at once, without the transport."""
        transport = SocketTransport(self.near)
        Writer(cast(Any, transport)).write(b"hello")
        self.assertEqual(self.far.recv(100), b"hello")
        self.assertEqual(transport.value(), b"")

    def test_partly(self) -> None:
        """After a partial write, the rest and all later data go through the transport."""
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
        """If the socket's other end is closed, data goes through the transport, which reports it."""
        transport = SocketTransport(self.near)
        self.far.close()
        Writer(cast(Any, transport)).write(b"hello")
        self.assertEqual(transport.value(), b"hello")

    def test_otherTransports(self) -> None:
        """TLS and transports without a socket are written to as usual."""
        tls = SocketTransport(self.near)  # the socket carries ciphertext
        directlyProvides(tls, ISSLTransport, ISystemHandle)
        for transport in (tls, SocketTransport(object()), StringTransport()):
            Writer(cast(Any, transport)).write(b"hello")
            self.assertEqual(transport.value(), b"hello")


class RealTransportTests(TestCase):
    """A Writer on Twisted's TCP transport."""

    async def test_order(self) -> None:
        """Megabytes arrive complete and in order at a client that reads slowly."""
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


class TuneTests(SynchronousTestCase):
    """Options of a transport's socket."""

    def test_sendBuffer(self) -> None:
        """The kernel's send buffer gets the size it is given, and none changes it; Linux doubles it."""
        with socket.socket() as tcp:
            before = tcp.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            tune(cast(Any, SocketTransport(tcp)))
            self.assertEqual(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), before)
            tune(cast(Any, SocketTransport(tcp)), 30_000)
            self.assertIn(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), (30_000, 60_000))

    def test_tcp(self) -> None:
        """Small records are sent at once, and peers that have become unreachable are detected, over TCP."""

        class TCPTransport(StringTransport):
            noDelay = keepAlive = False

            def setTcpNoDelay(self, enabled: bool) -> None:
                self.noDelay = enabled

            def setTcpKeepAlive(self, enabled: bool) -> None:
                self.keepAlive = enabled

        transport = TCPTransport()
        directlyProvides(transport, ITCPTransport)
        tune(cast(Any, transport))
        self.assertEqual((transport.noDelay, transport.keepAlive), (True, True))

    def test_closed(self) -> None:
        """A peer that has closed its half is noticed; without a socket, or with TLS in between, none is."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        transport = SocketTransport(near)
        self.assertFalse(peer_has_closed(cast(Any, transport)))
        far.sendall(b"not read")
        self.assertFalse(peer_has_closed(cast(Any, transport)))
        far.close()
        if hasattr(select, "POLLRDHUP"):
            self.assertTrue(peer_has_closed(cast(Any, transport)))
        for other in (StringTransport(), SocketTransport(object())):
            self.assertFalse(peer_has_closed(cast(Any, other)))

    def test_noSocket(self) -> None:
        """A transport without a socket, or with TLS in between, has no such options."""
        for transport in (StringTransport(), SocketTransport(object())):
            tune(cast(Any, transport), 30_000)
            self.assertEqual(transport.value(), b"")
