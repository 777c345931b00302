"""Lists of address patterns."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh.address_patterns import AddressPatterns


class AddressPatternsTests(SynchronousTestCase):
    """Which addresses a list matches."""

    def test_match(self) -> None:
        """An address matches a network, a pattern or itself, in whatever form it is written."""
        for text, host in (
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.0/24", "192.0.2.255"),
            ("10.0.0.0/8,192.0.2.*", "192.0.2.77"),
            ("192.0.2.?", "192.0.2.7"),
            ("*", "2001:db8::1"),
            ("*", "192.0.2.1"),
            ("2001:DB8::/32", "2001:db8:1::1"),
            ("2001:db8:0:0::1", "2001:db8::1"),
            ("2001:DB8:*", "2001:db8::1"),
            ("192.0.2.0/24", "::ffff:192.0.2.1"),
            ("fe80::/10", "fe80::1%eth0"),
            ("192.0.2.0/24,!192.0.2.9", "192.0.2.1"),
        ):
            self.assertTrue(AddressPatterns(text).match(host), (text, host))

    def test_noMatch(self) -> None:
        """Another address does not, nor does one that matches a negated pattern, nor a client without an address."""
        for text, host in (
            ("192.0.2.1", "192.0.2.2"),
            ("192.0.2.0/24", "192.0.3.1"),
            ("192.0.2.?", "192.0.2.77"),
            ("192.0.2.0/24", "2001:db8::1"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("!192.0.2.9,*", "192.0.2.9"),
            ("*,!192.0.2.0/24", "192.0.2.9"),
            ("!192.0.2.9", "192.0.2.1"),
            ("*", ""),
            ("*", "unknown"),
        ):
            self.assertFalse(AddressPatterns(text).match(host), (text, host))

    def test_invalid(self) -> None:
        """Names are refused, because they would never match, and so is a network whose address has further bits."""
        for text in (
            *(
                "",
                "192.0.2.1,",
                "!",
                "!!192.0.2.1",
                "host.example.org",
                "*.example.org",
                "192.0.2.1/24",
                "192.0.2.0/33",
            ),
            *("192.0.2.0/255.255.255.0", "192.0.2", "192.0.2.1 ", "[::1]", "fe80::1%eth0", "1.2.3.4/\u0668", "[a-z]*"),
        ):
            error = self.assertRaises(ValueError, AddressPatterns, text)
            self.assertEqual(str(error), "expected addresses, networks such as 192.0.2.0/24, or patterns")

    @given(st.text("0123456789abf.:*?/!,", max_size=40), st.ip_addresses())
    def test_any(self, text: str, address: object) -> None:
        """Any text is a list or a ValueError, and any address matches or not."""
        try:
            patterns = AddressPatterns(text)
        except ValueError:
            return
        patterns.match(str(address))
