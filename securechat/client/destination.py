"""The server to connect to: ``HOST[:PORT]`` on the command line."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from securechat.wire.host_names import bracketed, canonical_host

DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 8080
MAX_PORT: Final = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Destination:
    """A host in canonical form, and a port."""

    host: str
    port: int

    @property
    def name(self) -> str:
        """``[host]:port``, as in known_hosts."""
        return bracketed(self.host, self.port)


def parse_destination(text: str) -> Destination:
    """Parse ``host``, ``host:port``, ``[address]``, ``[address]:port`` or an IPv6 address; ValueError."""
    host, port = _split(text)
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= MAX_PORT):
        raise ValueError("invalid port")
    return Destination(canonical_host(host), int(port))


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("missing closing bracket")
        return host, rest[1:] if rest else str(DEFAULT_PORT)
    if text.count(":") > 1:
        return str(ipaddress.IPv6Address(text)), str(DEFAULT_PORT)
    host, colon, port = text.partition(":")
    return host, port if colon else str(DEFAULT_PORT)
