"""What the server takes from addresses."""

import socket

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.addresses import names_at, source_at


class AddressTests(SynchronousTestCase):
    """Addresses of each kind."""

    def test_sources(self) -> None:
        """A source is an address or network; all UNIX sockets, and what has no address, are one."""
        self.assertEqual(source_at(IPv4Address("TCP", "192.0.2.1", 1)), ("192.0.2.1", ""))
        self.assertEqual(source_at(IPv6Address("TCP", "2001:db8::1", 1)), ("2001:db8::/64", "2001:db8::/48"))
        others = (UNIXAddress(b""), UNIXAddress(b"/run/a"), UNIXAddress(b"/run/b"), HostnameAddress(b"a", 1))
        self.assertEqual(len({source_at(address) for address in others}), 1)

    def test_names(self) -> None:
        """A server is known by the address that was reached, as localhost, and by this machine's name."""
        self.patch(socket, "gethostname", lambda: "Chat")
        self.assertEqual(
            names_at(IPv4Address("TCP", "192.0.2.1", 80)), {"[192.0.2.1]:80", "[localhost]:80", "[chat]:80"}
        )
        self.assertEqual(list(names_at(UNIXAddress(b"/run/a"))), [])
