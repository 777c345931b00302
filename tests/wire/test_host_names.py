"""Names of servers."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.host_names import bracketed, canonical_host, local_names


class NameTests(SynchronousTestCase):
    """The canonical form of ``[host]:port``."""

    def test_hosts(self) -> None:
        """Host names are in lower-case A-labels without a final dot, IPv6 addresses as in RFC 5952."""
        for written, canonical in (
            ("Example.ORG.", "example.org"),
            ("localhost", "localhost"),
            ("my_host", "my_host"),
            ("münchen.example", "xn--mnchen-3ya.example"),
            ("例子.中国", "xn--fsqu00a.xn--fiqs8s"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("::1", "::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:c000:201", "192.0.2.1"),
        ):
            self.assertEqual(canonical_host(written), canonical)

    def test_invalidHosts(self) -> None:
        """An empty, overlong or otherwise invalid name is rejected."""
        for written in ("", ".", "a..b", "-a", "a b", "a/b", "a" * 254, "[::1]", "ü" * 300, "fe80::1%eth0"):
            self.assertRaises(ValueError, canonical_host, written)

    def test_bracketed(self) -> None:
        """A name always has brackets and a port."""
        self.assertEqual(bracketed("::1", 8080), "[::1]:8080")
        self.assertEqual(bracketed("localhost", 80), "[localhost]:80")

    def test_localNames(self) -> None:
        """The default names are the local address of the connection, localhost and the host name."""
        self.assertEqual(
            local_names("127.0.0.1", 1, "Box.example"), {"[127.0.0.1]:1", "[localhost]:1", "[box.example]:1"}
        )
        self.assertEqual(local_names("::ffff:10.0.0.1", 1, "not a name"), {"[10.0.0.1]:1", "[localhost]:1"})
        self.assertEqual(local_names("fe80::1%eth0", 1, "a"), {"[fe80::1]:1", "[localhost]:1", "[a]:1"})
