"""The header of the PROXY protocol, version 1 or 2: a proxy's first bytes, with the addresses of its client.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. Additional data of version 2 (TLV) is ignored.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, NamedTuple

MAX_LINE: Final = 107  # bytes of a header of version 1, its CR LF included
MAX_HEADER: Final = 1024  # bytes of one of version 2; the addresses and the usual additional data have some hundred

_ADDRESS, _PORT = rb"([0-9A-Fa-f:.]+)", rb"(0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(
    rb"PROXY (?:TCP([46]) %b %b %b %b|UNKNOWN(?: [^\r\n]*)?)\r\n" % (_ADDRESS, _ADDRESS, _PORT, _PORT)
)
_LINE_START: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = Struct("!12sBBH")  # signature, version and command, family and transport, length of the rest
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESSES: Final[dict[int, tuple[Struct, type[IPv4Address | IPv6Address]]]] = {  # by family and transport
    0x11: (Struct("!4s4sHH"), IPv4Address),
    0x21: (Struct("!16s16sHH"), IPv6Address),
}


class InvalidHeaderError(ValueError):
    """The bytes are not a header."""


class Endpoint(NamedTuple):
    """An address of the Internet and a port."""

    address: IPv4Address | IPv6Address
    port: int


class ProxyHeader(NamedTuple):
    """A header. Without endpoints, the connection is the proxy's own, such as a health check, or of unknown origin."""

    size: int  # bytes
    source: Endpoint | None = None
    destination: Endpoint | None = None


def read_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None if more bytes are needed. InvalidHeaderError if there is none."""
    if data.startswith(_SIGNATURE[: len(data)]):
        return _binary(data) if len(data) >= _FIXED.size else None
    if data.startswith(_LINE_START[: len(data)]):
        return _line(data)
    raise InvalidHeaderError


def _line(data: bytes) -> ProxyHeader | None:
    match = _LINE.match(data, 0, MAX_LINE)
    if match is None:
        if len(data) >= MAX_LINE or b"\n" in data:
            raise InvalidHeaderError
        return None
    family, source, destination, *ports = match.groups()
    if family is None:
        return ProxyHeader(match.end())
    kind = IPv4Address if family == b"4" else IPv6Address
    try:
        ends = [
            Endpoint(kind(text.decode()), _port(port)) for text, port in zip((source, destination), ports, strict=True)
        ]
    except ValueError:
        raise InvalidHeaderError from None
    return ProxyHeader(match.end(), *ends)


def _port(digits: bytes) -> int:
    port = int(digits)
    if port >= 2**16:
        raise InvalidHeaderError
    return port


def _binary(data: bytes) -> ProxyHeader | None:
    _signature, command, family, length = _FIXED.unpack_from(data)
    size = _FIXED.size + length
    if command not in (_LOCAL, _PROXY) or size > MAX_HEADER:
        raise InvalidHeaderError
    if len(data) < size:
        return None
    if command == _LOCAL or family not in _ADDRESSES:
        return ProxyHeader(size)
    layout, kind = _ADDRESSES[family]
    if length < layout.size:
        raise InvalidHeaderError
    source, destination, source_port, destination_port = layout.unpack_from(data, _FIXED.size)
    return ProxyHeader(size, Endpoint(kind(source), source_port), Endpoint(kind(destination), destination_port))
