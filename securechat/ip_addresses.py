"""IP addresses of clients and of hosts."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """An address without its zone, which means nothing to another machine; ValueError.

    One that is mapped into IPv6, as sockets for both versions have it, is the IPv4 address.
    """
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
