"""Connections behind ``haproxy:``."""

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from securechat.server.haproxy import ProxiedFactory
from tests.server.test_protocol import ServerTestCase

PROXY = IPv4Address("TCP", "10.0.0.5", 5555)
HEADER = b"PROXY TCP4 192.0.2.%d 192.0.2.1 4444 8080\r\n"


class Transport(StringTransport):
    """A TCP transport that can be aborted, and has the options that a server sets."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to set."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to set."""


class ProxiedFactoryTests(ServerTestCase):
    """A factory for connections of proxies."""

    def setUp(self) -> None:
        super().setUp()
        self.use()

    def use(self, **settings: Any) -> None:
        self.factory = self.make_factory(**settings)
        networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
        self.proxied = ProxiedFactory(self.factory, networks)

    def connect(self, *data: bytes) -> tuple[Any, Transport]:
        protocol = self.proxied.buildProtocol(PROXY)
        assert protocol is not None
        transport = Transport(peerAddress=PROXY)
        protocol.makeConnection(transport)
        for part in data:
            protocol.dataReceived(part)
        return protocol, transport

    def test_client(self) -> None:
        """The address of the client is that in the header, for limits and in the log."""
        self.use(max_handshakes_per_source=1)
        for number in range(1, 5):
            _protocol, transport = self.connect(HEADER % number + b"\0")
            self.assertFalse(transport.disconnected)
        self.assertEqual(len(self.factory.sessions), 4)
        self.connect(HEADER % 1 + b"\0")
        self.assertEqual(len(self.factory.sessions), 4)
        self.assertLogged(r"client 5 from \[192\.0\.2\.1\]:4444: refused \(limit\)")

    def test_pieces(self) -> None:
        """The header may arrive byte by byte, and the client's bytes after it are passed on."""
        data = HEADER % 7 + b"GET / HTTP/1.1\r\n\r\n"
        _protocol, transport = self.connect(*(data[at : at + 1] for at in range(len(data))))
        self.assertTrue(transport.disconnected)
        self.assertLogged(r"from \[192\.0\.2\.7\]:4444: aborted \(framing\)")

    def test_refused(self) -> None:
        """A connection that the server refuses is closed, and nothing fails."""
        self.factory.stop()
        protocol, transport = self.connect(HEADER % 7 + b"\0")
        self.assertTrue(transport.disconnected)
        protocol.dataReceived(b"more")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertLogged(r"from \[192\.0\.2\.7\]:4444: refused \(limit\)")

    def test_checks(self) -> None:
        """A health check is not a client, and is not logged."""
        for header in (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b""):
            protocol, _transport = self.connect(header)
            self.assertEqual(len(self.factory.sessions), 0)
            protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.proxied.waiting, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.log_lines(), [])

    def test_unknownClient(self) -> None:
        """A client of unknown origin counts as the proxy."""
        self.connect(b"PROXY UNKNOWN\r\n" + b"GET / HTTP/1.1\r\n\r\n")
        self.assertLogged(r"from \[10\.0\.0\.5\]:5555: aborted \(framing\)")

    def test_otherPeers(self) -> None:
        """Only proxies may send headers; a UNIX socket is protected by its permissions."""
        for host, is_proxy in (("10.9.9.9", True), ("11.0.0.1", False), ("127.0.0.1", False)):
            protocol = self.proxied.buildProtocol(IPv4Address("TCP", host, 1))
            self.assertEqual(protocol is not None, is_proxy, host)
        for host, is_proxy in (("fd00::1", True), ("fe80::1%eth0", False), ("::ffff:10.0.0.1", True)):
            protocol = self.proxied.buildProtocol(IPv6Address("TCP", host, 1))
            self.assertEqual(protocol is not None, is_proxy, host)
        self.assertIsNotNone(self.proxied.buildProtocol(UNIXAddress("/run/chat")))
        self.assertLogged(r"from \[11\.0\.0\.1\]:1: refused \(order\)")

    def test_garbage(self) -> None:
        """A connection that does not begin with a header is closed, with the proxy's address in the log."""
        _protocol, transport = self.connect(b"\0\1\2")
        self.assertTrue(transport.disconnected)
        self.assertLogged(r"from \[10\.0\.0\.5\]:5555: refused \(malformed\)")

    def test_silence(self) -> None:
        """The header and the client's first bytes have to come in the time of a Hello."""
        self.use(hello_timeout=3.0)
        silent = [self.connect()[1], self.connect(HEADER % 1)[1]]
        self.clock.advance(2.9)
        self.assertFalse(any(transport.disconnected for transport in silent))
        self.clock.advance(0.2)
        self.assertTrue(all(transport.disconnected for transport in silent))
        self.assertLogged(r"refused \(timeout\)")

    def test_many(self) -> None:
        """As many connections wait as there may be handshakes; a further one replaces the oldest."""
        self.use(max_handshakes=3)
        transports = [self.connect()[1] for _ in range(5)]
        self.assertEqual([transport.disconnected for transport in transports], [True, True, False, False, False])
        self.assertEqual(len(self.proxied.waiting), 3)

    def test_lost(self) -> None:
        """When the connection is lost, the server's end of the session ends."""
        protocol, _transport = self.connect(HEADER % 7 + b"\0")
        self.assertEqual(len(self.factory.sessions), 1)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.factory.sessions), 0)
