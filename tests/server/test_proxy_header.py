"""The header of the PROXY protocol."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.server.proxy_header import (
    MAX_HEADER,
    MAX_LINE,
    Endpoint,
    InvalidHeaderError,
    ProxyHeader,
    read_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def binary(command: int, family: int, body: bytes) -> bytes:
    """A header of version 2."""
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


FOUR = binary(0x21, 0x11, bytes((192, 0, 2, 7, 192, 0, 2, 1)) + b"\x11\x5c\x1f\x90")
SIX = binary(0x21, 0x21, IPv6Address("2001:db8::7").packed + IPv6Address("::1").packed + b"\0\0\xff\xff")
ENDS_4 = (Endpoint(IPv4Address("192.0.2.7"), 4444), Endpoint(IPv4Address("192.0.2.1"), 8080))
ENDS_6 = (Endpoint(IPv6Address("2001:db8::7"), 0), Endpoint(IPv6Address("::1"), 65535))
VALID = {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4444 8080\r\n": ENDS_4,
    b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n": ENDS_6,
    b"PROXY UNKNOWN\r\n": (None, None),
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": (None, None),
    FOUR: ENDS_4,
    SIX: ENDS_6,
    binary(0x21, 0x11, FOUR[16:] + b"\x04\x00\x01x"): ENDS_4,  # with additional data
    binary(0x20, 0x00, b""): (None, None),  # LOCAL
    binary(0x20, 0x11, FOUR[16:]): (None, None),  # whose addresses are to be ignored
    binary(0x21, 0x00, b""): (None, None),  # unspecified
    binary(0x21, 0x31, bytes(216)): (None, None),  # UNIX sockets
    binary(0x21, 0x12, FOUR[16:]): (None, None),  # a datagram
}
INVALID = (
    *(b"GET / HTTP/1.1\r\n", b"\0", b"PROXY\r\n", b"PROXY TCP4\r\n", b"proxy UNKNOWN\r\n", b"PROXY UNKNOWN\n"),
    b"PROXY TCP4 a b c d\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4444\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4444 65536\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 04444 8080\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 8080\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.256 4444 8080\r\n",
    b"PROXY TCP4 ::1 ::1 4444 8080\r\n",
    b"PROXY TCP6 192.0.2.7 192.0.2.1 4444 8080\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 4444 8080\r\n",
    b"PROXY TCP4  192.0.2.7 192.0.2.1 4444 8080\r\n",
    b"PROXY UNKNOWN " + b"x" * MAX_LINE,
    binary(0x11, 0x11, FOUR[16:]),  # version 1
    binary(0x22, 0x11, FOUR[16:]),  # an unknown command
    binary(0x21, 0x11, FOUR[16:-1]),
    binary(0x21, 0x21, SIX[16:-1]),
    binary(0x21, 0x11, bytes(MAX_HEADER)),
    SIGNATURE[:5] + b"x",
)


class ReadTests(SynchronousTestCase):
    """Reading a header."""

    def test_valid(self) -> None:
        """Headers of both versions are read, whatever follows them."""
        for data, ends in VALID.items():
            expected = ProxyHeader(len(data), *ends)
            self.assertEqual(read_header(data), expected, data)
            self.assertEqual(read_header(data + b"\r\nhello" + bytes(2000)), expected, data)

    def test_incomplete(self) -> None:
        """Any part of a header may be read first."""
        for data in VALID:
            for size in range(len(data)):
                self.assertIsNone(read_header(data[:size]), data[:size])

    def test_invalid(self) -> None:
        """Anything else is refused."""
        for data in INVALID:
            self.assertRaises(InvalidHeaderError, read_header, data)

    def test_longest(self) -> None:
        """A header may have its longest size, and is waited for up to that."""
        line = b"PROXY UNKNOWN ".ljust(MAX_LINE - 2, b"x") + b"\r\n"
        whole = binary(0x21, 0x11, FOUR[16:].ljust(MAX_HEADER - 16, b"\0"))
        for data in (line, whole):
            header = read_header(data)
            assert header is not None
            self.assertEqual(header.size, len(data))
            self.assertIsNone(read_header(data[:-1]))

    @given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: SIGNATURE + rest))
    def test_any(self, data: bytes) -> None:
        """Any bytes give a header, a wait or InvalidHeaderError."""
        try:
            header = read_header(data)
        except InvalidHeaderError:
            return
        self.assertTrue(header is None or header.size <= len(data))
