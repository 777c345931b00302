"""What a transport's addresses mean to the server: where a client comes from, and what it may have dialled."""

import os
import socket
from collections.abc import Collection

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from securechat.server.admission import Holder, source_of
from securechat.wire.host_names import bracketed, local_names


def place_of(address: IAddress) -> str:
    """Where a client comes from, for people and for the log."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return bracketed(address.host, address.port)
    if isinstance(address, UNIXAddress):  # most clients bind theirs to no name
        return os.fsdecode(address.name) if address.name else "a UNIX socket"
    return str(address)


def source_at(address: IAddress) -> Holder:
    """The source of connections from an address; all UNIX sockets together are one."""
    return source_of(address.host) if isinstance(address, (IPv4Address, IPv6Address)) else Holder("local")


def host_of(address: IAddress) -> str:
    """The Internet address without its port; empty if it is not one."""
    return address.host if isinstance(address, (IPv4Address, IPv6Address)) else ""


def names_at(address: IAddress) -> Collection[str]:
    """The names of the address that a client reached; none if it is not one of the Internet."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return local_names(address.host, address.port, socket.gethostname())
    return ()
