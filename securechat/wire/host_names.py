"""What a server is called: ``[host]:port``, as clients prove that they dialled it (protocol, sections 3 and 7).

Host names are lower-case ASCII (A-labels) without a final dot, addresses in the form of RFC 5952; the port is always
there.
"""

import ipaddress
import re
from contextlib import suppress
from functools import lru_cache
from typing import Final

import idna

MAX_HOST: Final = 253  # characters (RFC 1035)
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def canonical_host(host: str) -> str:
    """The one form of a host name or address; ValueError if it is neither."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode("ascii")
    host = host.lower().removesuffix(".")
    if len(host) > MAX_HOST or not _HOST_NAME.fullmatch(host):
        raise ValueError("not a host name or address")
    return host


def bracketed(host: str, port: int) -> str:
    """The name for a host in its canonical form and a port."""
    return f"[{host}]:{port}"


@lru_cache(maxsize=64)  # a server has few addresses, and a handshake should not pay for parsing one
def local_names(address: str, port: int, hostname: str) -> frozenset[str]:
    """The names that a server has if it was given none: the address that a client reached, localhost and its own."""
    reached = ipaddress.ip_address(address.partition("%")[0])
    mapped = reached.ipv4_mapped if isinstance(reached, ipaddress.IPv6Address) else None
    hosts = {str(mapped or reached), "localhost"}
    with suppress(ValueError):  # a machine may be called anything; then nobody can have dialled that
        hosts.add(canonical_host(hostname))
    return frozenset(bracketed(host, port) for host in hosts)
