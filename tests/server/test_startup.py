"""Warnings at startup. Those that need a process are in tests.programs.test_daemon."""

from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.server.startup import PublicEndpoint


@implementer(IStreamServerEndpoint)
class FakeEndpoint:
    """Listens on an address, or says that it does."""

    def __init__(self, address: IAddress) -> None:
        self._address = address

    def listen(self, protocolFactory: Any) -> "Deferred[Any]":
        return succeed(self)

    def getHost(self) -> IAddress:
        return self._address


class PublicEndpointTests(SynchronousTestCase):
    """Endpoints for everyone."""

    def test_warns(self) -> None:
        """The log warns of each address that other machines can reach, and of no other."""
        logged: list[str] = []

        def observe(event: Any) -> None:
            logged.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(cast(ILogObserver, observe))
        self.addCleanup(globalLogPublisher.removeObserver, cast(ILogObserver, observe))
        for address, is_public in (
            (IPv4Address("TCP", "127.0.0.1", 8080), False),
            (IPv4Address("TCP", "127.1.2.3", 8080), False),
            (IPv6Address("TCP", "::1", 8080), False),
            (UNIXAddress(b"/run/chat"), False),
            (IPv4Address("TCP", "0.0.0.0", 8080), True),
            (IPv4Address("TCP", "192.0.2.1", 8080), True),
            (IPv6Address("TCP", "::", 8080), True),
            (IPv6Address("TCP", "fe80::1%eth0", 8080), True),
        ):
            logged.clear()
            endpoint = FakeEndpoint(address)
            self.assertIs(self.successResultOf(PublicEndpoint(endpoint).listen(Factory())), endpoint)
            self.assertEqual(["is open to everyone who can reach it" in line for line in logged], [True] * is_public)
