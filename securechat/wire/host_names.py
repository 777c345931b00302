"""Names of servers, ``[host]:port`` (protocol, sections 3 and 7).

Host names are in lower-case ASCII (A-labels) without a final dot, IPv6 addresses in the form of RFC 5952; the port is
always present.
"""

import re
from contextlib import suppress
from functools import lru_cache
from typing import Final

import idna

from securechat.ip_addresses import parse_address

MAX_HOST: Final = 253  # characters (RFC 1035)
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def canonical_host(host: str) -> str:
    """The canonical form of a host name or address; ValueError if it is neither."""
    with suppress(ValueError):
        if "%" not in host:  # a zone means nothing to the other side
            return str(parse_address(host))
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode("ascii")
    host = host.lower().removesuffix(".")
    if len(host) > MAX_HOST or not _HOST_NAME.fullmatch(host):
        raise ValueError("not a host name or address")
    return host


def bracketed(host: str, port: int) -> str:
    """``[host]:port``, for a host in canonical form."""
    return f"[{host}]:{port}"


@lru_cache(maxsize=64)  # called in each handshake, with one of a few addresses
def local_names(address: str, port: int, hostname: str) -> frozenset[str]:
    """The default names of a server: the local address of a connection, localhost and the machine's host name."""
    hosts = {str(parse_address(address)), "localhost"}
    with suppress(ValueError):  # not a valid host name, so no client can have dialled it
        hosts.add(canonical_host(hostname))
    return frozenset(bracketed(host, port) for host in hosts)
