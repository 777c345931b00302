"""The server to connect to, as users write it."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination, parse_destination


class DestinationTests(SynchronousTestCase):
    """Hosts, addresses and ports."""

    def test_forms(self) -> None:
        """A host may have a port, and an IPv6 address with a port has brackets."""
        for text, host, port in (
            ("Example.org", "example.org", 8080),
            ("example.org:22", "example.org", 22),
            ("::1", "::1", 8080),
            ("[::1]", "::1", 8080),
            ("[2001:DB8::1]:80", "2001:db8::1", 80),
        ):
            self.assertEqual(parse_destination(text), Destination(host, port))

    def test_zone(self) -> None:
        """A link-local address has a zone; it is dialled and remembered with it, but the server does not know it."""
        for text in ("[FE80::0001%Eth0.5]:80", "[fe80::1%Eth0.5]:80"):
            destination = parse_destination(text)
            self.assertEqual(destination, Destination("fe80::1", 80, "Eth0.5"))
            self.assertEqual(destination.address, "fe80::1%Eth0.5")
            self.assertEqual(destination.name, "[fe80::1]:80")
            self.assertEqual(destination.local_name, "[fe80::1%eth0.5]:80")
        self.assertEqual(parse_destination("fe80::1%eth0"), Destination("fe80::1", 8080, "eth0"))

    def test_noZone(self) -> None:
        """Without a zone, all forms of a name are the same."""
        destination = Destination("example.org", 80)
        self.assertEqual((destination.address, destination.local_name), ("example.org", destination.name))

    def test_invalid(self) -> None:
        """A zone belongs to an IPv6 address and has the characters of an interface's name."""
        for text in (
            "fe80::1%",
            "fe80::1%a b",
            "[fe80::1%a]b]",
            "fe80::1%é",
            "example.org%eth0",
            "127.0.0.1%lo",
            "a:b:c",
        ):
            self.assertRaises(ValueError, parse_destination, text)
