"""Connections behind ``haproxy:``, through Twisted's own wrapper."""

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.protocols.haproxy import proxyEndpoint
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.haproxy import ProxiedFactory

HAPROXY = IPv4Address("TCP", "127.0.0.1", 5555)


class OneConnection(Factory):
    """Accepts one connection and refuses all others."""

    accepted: AccumulatingProtocol | None = None

    def __init__(self) -> None:
        self.addresses: list[IAddress | None] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        self.addresses.append(addr)
        if self.accepted is not None:
            return None
        self.accepted = AccumulatingProtocol()
        return self.accepted


class ProxiedFactoryTests(SynchronousTestCase):
    """A factory that refuses connections, behind the wrapper."""

    def test_refused(self) -> None:
        """A connection that is accepted receives its data; one that is refused is closed, and nothing fails."""
        wrapped: list[Any] = []

        class Endpoint:
            def listen(self, factory: Factory) -> None:
                wrapped.append(factory)

        factory = OneConnection()
        proxyEndpoint(cast(IStreamServerEndpoint, Endpoint())).listen(ProxiedFactory(factory))
        closed = []
        for _ in range(2):
            transport = StringTransport(peerAddress=HAPROXY)
            protocol = wrapped[0].buildProtocol(HAPROXY)
            protocol.makeConnection(transport)
            protocol.dataReceived(b"PROXY TCP4 192.0.2.7 192.0.2.1 4444 8080\r\nhello")
            closed.append(transport.disconnecting)
        self.assertEqual(closed, [False, True])
        self.assertEqual(factory.addresses, [HAPROXY] * 2)
        assert factory.accepted is not None
        self.assertEqual(factory.accepted.data, b"hello")
