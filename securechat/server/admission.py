"""Admission of connections: limits on sessions, on unfinished handshakes and on their rate (protocol, section 13)."""

from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from securechat.server.settings import ServerSettings
from securechat.wire.token_bucket import TokenBucket

SOURCE_PREFIX: Final = 64  # bits of an IPv6 address: the smallest network that one customer is usually assigned
MAX_SOURCES: Final = 4096  # whose rates are tracked; the least recent one is dropped first


def source_of(host: str) -> str:
    """The unit that limits apply to: an IPv4 address, an IPv6 /64 network, or any other name of a host."""
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
    """Counts sessions and handshakes. Each `enter` that returns True must be followed by one `leave`."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._sessions: Counter[str] = Counter()  # by source
        self._rates: dict[str, TokenBucket] = {}  # by source
        self._total = 0
        self._handshakes = 0

    def enter(self, source: str, now: float) -> bool:
        """Admit a connection, whose handshake begins; False if a limit is reached. `now` is in seconds."""
        settings = self._settings
        if (
            self._total >= settings.max_sessions
            or self._handshakes >= settings.max_handshakes
            or self._sessions[source] >= settings.max_sessions_per_source
            or not self._take(source, now)
        ):
            return False
        self._total += 1
        self._handshakes += 1
        self._sessions[source] += 1
        return True

    def handshake_done(self) -> None:
        """An admitted connection has completed or abandoned its handshake."""
        self._handshakes -= 1

    def leave(self, source: str) -> None:
        """An admitted connection is closed."""
        self._total -= 1
        self._sessions[source] -= 1
        if not self._sessions[source]:
            del self._sessions[source]

    def _take(self, source: str, now: float) -> bool:
        bucket = self._rates.pop(source, None) or TokenBucket(
            self._settings.handshake_burst, self._settings.handshake_rate, now
        )
        self._rates[source] = bucket  # at the end: the least recent source comes first
        if len(self._rates) > MAX_SOURCES:
            del self._rates[next(iter(self._rates))]
        return bucket.take(now)
