from ipaddress import IPv4Address, IPv6Address

from twisted.trial.unittest import SynchronousTestCase

from securechat.ip_addresses import parse_address


class ParseTests(SynchronousTestCase):
    """Addresses as Twisted, files and users write them."""

    def test_versions(self) -> None:
        """Addresses of both versions are read."""
        self.assertEqual(parse_address("192.0.2.7"), IPv4Address("192.0.2.7"))
        self.assertEqual(parse_address("2001:DB8:0::7"), IPv6Address("2001:db8::7"))

    def test_mappedAddress(self) -> None:
        """An IPv4 address that is mapped into IPv6 is the same as the IPv4 address."""
        self.assertEqual(parse_address("::ffff:192.0.2.7"), IPv4Address("192.0.2.7"))

    def test_zone(self) -> None:
        """The zone of a link-local address is left out."""
        self.assertEqual(str(parse_address("fe80::1%eth0")), "fe80::1")

    def test_name(self) -> None:
        """A name is not an address."""
        self.assertRaises(ValueError, parse_address, "localhost")
