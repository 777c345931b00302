"""Lists of address patterns, as in the key option ``from`` (see PATTERNS in ssh_config(5))."""

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from securechat.i18n import _

_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]+", re.ASCII)  # without a zone
_NETWORK: Final = re.compile(r"[0-9A-Fa-f:.]+/[0-9]{1,3}", re.ASCII)
_WILDCARDS: Final = re.compile(r"[0-9A-Fa-f:.*?]*[*?][0-9A-Fa-f:.*?]*", re.ASCII)

_Pattern = IPv4Network | IPv6Network | IPv4Address | IPv6Address | str


class AddressPatterns:
    """Addresses, networks in CIDR form, and patterns with ``*`` and ``?``, each perhaps negated by ``!``."""

    __slots__ = ("_negated", "_patterns")

    def __init__(self, text: str) -> None:
        """`text` has commas between the patterns; ValueError, for the user, if one is invalid."""
        patterns = text.split(",")
        self._negated = [_parse(pattern[1:]) for pattern in patterns if pattern.startswith("!")]
        self._patterns = [_parse(pattern) for pattern in patterns if not pattern.startswith("!")]

    def match(self, host: str) -> bool:
        """Whether an address matches a pattern, and none that is negated. What is not an address does not match."""
        try:
            address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(_matches(address, pattern) for pattern in self._negated):
            return False
        return any(_matches(address, pattern) for pattern in self._patterns)


def _parse(text: str) -> _Pattern:
    try:
        if _NETWORK.fullmatch(text):
            return ip_network(text)
        if _ADDRESS.fullmatch(text):
            return ip_address(text)
        if _WILDCARDS.fullmatch(text):
            return text.lower()
        raise ValueError
    except ValueError:
        # Unlike sshd with UseDNS, the daemon never looks up the names of clients: one would never match.
        raise ValueError(_("expected addresses, networks such as 192.0.2.0/24, or patterns")) from None


def _matches(address: IPv4Address | IPv6Address, pattern: _Pattern) -> bool:
    if isinstance(pattern, str):
        return fnmatchcase(str(address), pattern)
    return address in pattern if isinstance(pattern, IPv4Network | IPv6Network) else address == pattern
