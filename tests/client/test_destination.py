"""The server's name on the command line."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.destination import Destination, parse_destination

VALID = (
    ("example.org", "[example.org]:8080"),
    ("example.org:1", "[example.org]:1"),
    ("example.org:65535", "[example.org]:65535"),
    ("example.org:0080", "[example.org]:80"),
    ("Example.ORG.", "[example.org]:8080"),
    ("b\u00fccher.example:22", "[xn--bcher-kva.example]:22"),
    ("192.0.2.1:99", "[192.0.2.1]:99"),
    ("[example.org]", "[example.org]:8080"),
    ("[example.org]:99", "[example.org]:99"),
    ("[2001:DB8::0:1]", "[2001:db8::1]:8080"),
    ("[2001:db8::1]:99", "[2001:db8::1]:99"),
    ("2001:DB8:0::1", "[2001:db8::1]:8080"),
    ("::1", "[::1]:8080"),
)
INVALID = (
    *("", ":", ":80", "example.org:", "example.org:x", "example.org:-1", "example.org:+1", "example.org:0"),
    *("example.org:65536", "example.org:99999999999999999999", "example.org:8 0", "example.org:\u0661"),
    *("[::1", "::1]", "[::1]80", "[::1]:", "[::1]:0", "[]", "[]:80", "[::1]:80:80", "a:b:c", "::1:99999", "1:2:3"),
    *("example.org:\u00b2", "a b", "a/b", "-a", "a..b", "a\nb", "user@example.org", "x" * 254),
)


class DestinationTests(SynchronousTestCase):
    """HOST[:PORT] in all its forms."""

    def test_valid(self) -> None:
        """Names and addresses are brought into the form in which servers and known_hosts have them."""
        for text, name in VALID:
            destination = parse_destination(text)
            self.assertEqual(destination.name, name, text)
            self.assertEqual(f"[{destination.host}]:{destination.port}", name)

    def test_invalid(self) -> None:
        """Anything else is an error."""
        for text in INVALID:
            self.assertRaises(ValueError, parse_destination, text)

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

    def test_invalidZone(self) -> None:
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
