"""Who may connect: so many sessions, so many from one source, so many handshakes (protocol, section 13)."""

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from securechat.wire.token_bucket import TokenBucket

SOURCE_PREFIX: Final = 64  # bits of an IPv6 address that one customer usually has to itself
MAX_SOURCES: Final = 4096  # whose rates are remembered; the one that came longest ago is forgotten first


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that an operator may set; times in seconds, rates a second."""

    max_sessions: int = 1000
    max_sessions_per_source: int = 16
    max_handshakes: int = 64  # unfinished at once, from all sources
    handshake_rate: float = 2.0  # per source
    handshake_burst: int = 10  # per source
    hello_timeout: float = 5.0  # from accept to the whole Hello
    proof_timeout: float = 30.0  # from Welcome to the client's PROOF: an agent may ask its user


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64, or whatever else the host is called."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, SOURCE_PREFIX), strict=False))
    return str(address)


class Admission:
    """Counts sessions and handshakes. Every `enter` that returns True is followed by one `leave`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sessions: Counter[str] = Counter()  # by source
        self._rates: dict[str, TokenBucket] = {}  # by source
        self._total = 0
        self._handshakes = 0

    def enter(self, source: str, now: float) -> bool:
        """Let a connection in; its handshake begins."""
        limits = self._limits
        if (
            self._total >= limits.max_sessions
            or self._handshakes >= limits.max_handshakes
            or self._sessions[source] >= limits.max_sessions_per_source
            or not self._take(source, now)
        ):
            return False
        self._total += 1
        self._handshakes += 1
        self._sessions[source] += 1
        return True

    def handshake_done(self) -> None:
        """A connection that was let in has ended its handshake, one way or the other."""
        self._handshakes -= 1

    def leave(self, source: str) -> None:
        """A connection that was let in is gone."""
        self._total -= 1
        self._sessions[source] -= 1
        if not self._sessions[source]:
            del self._sessions[source]

    def _take(self, source: str, now: float) -> bool:
        limits = self._limits
        bucket = self._rates.pop(source, None) or TokenBucket(limits.handshake_burst, limits.handshake_rate, now)
        self._rates[source] = bucket  # the dictionary's last: its first came longest ago
        if len(self._rates) > MAX_SOURCES:
            del self._rates[next(iter(self._rates))]
        return bucket.take(now)
