"""The server to connect to: ``HOST[:PORT]`` on the command line."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from securechat.wire.host_names import bracketed, canonical_host

DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 8080
MAX_PORT: Final = 2**16 - 1
_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Destination:
    """A host in canonical form, and a port. `zone` is the network interface of a link-local address (RFC 4007)."""

    host: str
    port: int
    zone: str = ""

    @property
    def address(self) -> str:
        """The host, with its zone if it has one."""
        return f"{self.host}%{self.zone}" if self.zone else self.host

    @property
    def lacks_zone(self) -> bool:
        """Whether this is a link-local address without a zone, which many systems cannot reach."""
        return not self.zone and self.host.startswith("fe80:")

    @property
    def name(self) -> str:
        """``[host]:port``, by which the server knows itself. A zone means nothing outside of this machine."""
        return bracketed(self.host, self.port)

    @property
    def local_name(self) -> str:
        """``[host]:port`` or ``[host%zone]:port``, as in known_hosts, in lower case, and in messages."""
        return bracketed(self.address.lower(), self.port)


def parse_destination(text: str) -> Destination:
    """Parse ``host``, ``host:port``, ``[address]``, ``[address]:port`` or an IPv6 address; ValueError.

    An IPv6 address may have a zone, ``fe80::1%eth0``.
    """
    host, port = _split(text)
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= MAX_PORT):
        raise ValueError("invalid port")
    host, percent, zone = host.partition("%")
    if percent:
        host = str(ipaddress.IPv6Address(host))
        if not _ZONE.fullmatch(zone):
            raise ValueError("invalid zone")
    return Destination(canonical_host(host), int(port), zone)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("missing closing bracket")
        return host, rest[1:] if rest else str(DEFAULT_PORT)
    if text.count(":") > 1:
        ipaddress.IPv6Address(text)  # ValueError: it may be a host name with two ports
        return text, str(DEFAULT_PORT)
    host, colon, port = text.partition(":")
    return host, port if colon else str(DEFAULT_PORT)
