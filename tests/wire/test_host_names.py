"""What a server is called."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.host_names import bracketed, canonical_host, local_names


class NameTests(SynchronousTestCase):
    """``[host]:port`` has one form."""

    def test_hosts(self) -> None:
        """Lower case, A-labels, no final dot, IPv6 as RFC 5952 writes it."""
        for written, canonical in (
            ("Example.ORG.", "example.org"),
            ("localhost", "localhost"),
            ("my_host", "my_host"),
            ("münchen.example", "xn--mnchen-3ya.example"),
            ("例子.中国", "xn--fsqu00a.xn--fiqs8s"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("::1", "::1"),
        ):
            self.assertEqual(canonical_host(written), canonical)

    def test_whatIsNoHost(self) -> None:
        """An empty, overlong or otherwise impossible name is refused."""
        for written in ("", ".", "a..b", "-a", "a b", "a/b", "a" * 254, "[::1]", "ü" * 300):
            self.assertRaises(ValueError, canonical_host, written)

    def test_bracketed(self) -> None:
        """The port is always there, and the brackets too."""
        self.assertEqual(bracketed("::1", 8080), "[::1]:8080")
        self.assertEqual(bracketed("localhost", 80), "[localhost]:80")

    def test_localNames(self) -> None:
        """Without names of its own a server is the address reached, localhost, and what its machine is called."""
        self.assertEqual(
            local_names("127.0.0.1", 1, "Box.example"), {"[127.0.0.1]:1", "[localhost]:1", "[box.example]:1"}
        )
        self.assertEqual(local_names("::ffff:10.0.0.1", 1, "not a name"), {"[10.0.0.1]:1", "[localhost]:1"})
        self.assertEqual(local_names("fe80::1%eth0", 1, "a"), {"[fe80::1]:1", "[localhost]:1", "[a]:1"})
