"""Admission: limits on handshakes, sessions and messages, for each source and each user (protocol, section 13)."""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Final, NamedTuple
from zlib import crc32

from securechat.ip_addresses import parse_address
from securechat.server.settings import ServerSettings
from securechat.wire.token_bucket import TokenBucket

SUBNET_PREFIX: Final = 64  # bits of an IPv6 address: the smallest network that one customer is usually assigned
SITE_PREFIX: Final = 48  # and the largest
SITE_FACTOR: Final = 4  # a site has this many times the allowance of a subnet
MAX_BUCKETS: Final = 4096  # of one kind; the one that was not used for the longest time is dropped first
USERS_SHARE: Final = 10  # if there are authorized users, one in this many sessions is kept for them


class Holder(NamedTuple):
    """The unit that limits apply to: a source or an authorized user."""

    name: str  # an IPv4 address, an IPv6 /64 network, another name of a host, or a user's key in hexadecimal
    site: str = ""  # the IPv6 /48 network

    @property
    def lane(self) -> str:
        """A name for queues in which each name has one place; a site has SITE_FACTOR of them."""
        return f"{self.site} {crc32(self.name.encode()) % SITE_FACTOR}" if self.site else self.name


@lru_cache(maxsize=1024)  # called for each connection, and most clients connect again
def source_of(host: str) -> Holder:
    """The source of connections from an address."""
    try:
        address = parse_address(host)
    except ValueError:
        return Holder(host)
    if isinstance(address, IPv6Address):
        return Holder(*(str(ip_network((address, prefix), strict=False)) for prefix in (SUBNET_PREFIX, SITE_PREFIX)))
    return Holder(str(address))


class _Tally:
    """Counts something for each holder and in total."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: Counter[str] = Counter()

    def add(self, holder: Holder, number: int) -> None:
        self.total += number
        for name in filter(None, holder):
            self._counts[name] += number
            if not self._counts[name]:
                del self._counts[name]

    def share_of(self, holder: Holder) -> float:
        """The holder's count, or its site's divided by SITE_FACTOR if that is more."""
        return max(self._counts[holder.name], self._counts[holder.site] / SITE_FACTOR if holder.site else 0)


class Buckets:
    """Token buckets of many holders, limited in number."""

    def __init__(self, burst: float, rate: float) -> None:
        """A holder may take `burst` tokens at once, and `rate` tokens per second."""
        self._burst = burst
        self._rate = rate
        self._buckets: dict[str, TokenBucket] = {}  # the least recently used comes first

    def configure(self, burst: float, rate: float) -> None:
        """Change the numbers. If they differ, all buckets are full again."""
        if (burst, rate) != (self._burst, self._rate):
            self._burst, self._rate = burst, rate
            self._buckets.clear()

    def take(self, holder: Holder, now: float) -> bool:
        """Take a token; False if the holder or its site has none. `now` is in seconds."""
        bucket = self._bucket(holder.name, 1, now)
        if not bucket.take(now):
            return False
        if holder.site and not self._bucket(holder.site, SITE_FACTOR, now).take(now):
            bucket.give_back()
            return False
        return True

    def give_back(self, holder: Holder) -> None:
        """Return a token."""
        for name in holder:
            if name in self._buckets:
                self._buckets[name].give_back()

    def _bucket(self, name: str, factor: int, now: float) -> TokenBucket:
        bucket = self._buckets.pop(name, None) or TokenBucket(self._burst * factor, self._rate * factor, now)
        self._buckets[name] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        return bucket


class Place:
    """The place of one connection: first among the handshakes, then among the sessions."""

    __slots__ = ("_admission", "_evict", "_holder", "source")

    def __init__(self, admission: "Admission", source: Holder, evict: Callable[[], None]) -> None:
        self.source = source
        self._admission = admission
        self._evict: Callable[[], None] | None = evict  # None once the handshake has ended
        self._holder: Holder | None = None  # of a place among the sessions

    def admit(self, user: bytes) -> bool:
        """Exchange the place among the handshakes for one among the sessions; False if there is none.

        `user` is the identity of an authorized user, or empty.
        """
        self._leave_handshakes()
        self._holder = self._admission.enter_sessions(self.source, user)
        return self._holder is not None

    @property
    def holder(self) -> Holder:
        """The user or source to which the session counts."""
        assert self._holder is not None
        return self._holder

    def take_message(self, now: float) -> bool:
        """Count a message of the session; False if it exceeds the rate of its user or source. `now` is in seconds."""
        return self._admission.messages.take(self.holder, now)

    def take_call(self, now: float) -> bool:
        """Count an API request of the session; False if it exceeds the rate of its user or source."""
        return self._admission.calls.take(self.holder, now)

    def evict(self) -> None:
        """End the handshake, because its place is given to another."""
        evict = self._evict
        assert evict is not None
        self._leave_handshakes()
        evict()

    def release(self) -> None:
        """The connection is closed."""
        self._leave_handshakes()
        if self._holder is not None:
            self._admission.sessions.add(self._holder, -1)
            self._holder = None

    def _leave_handshakes(self) -> None:
        if self._evict is not None:
            self._evict = None
            self._admission.leave_handshakes(self)


class Admission:
    """The places and rates of a server. A place is released when its connection is closed."""

    def __init__(self, settings: ServerSettings, *, has_users: bool = False) -> None:
        """`has_users`: whether there are authorized users, for whom some sessions are kept."""
        self._handshakes: dict[Place, None] = {}  # the oldest comes first
        self._handshake_counts = _Tally()
        self._handshake_rates = Buckets(settings.handshake_burst, settings.handshake_rate)
        self.sessions = _Tally()
        self.messages = Buckets(settings.message_burst, settings.message_rate)
        self.calls = Buckets(settings.call_burst, settings.call_rate)
        self.configure(settings, has_users=has_users)

    def configure(self, settings: ServerSettings, *, has_users: bool) -> None:
        """Apply these limits from now on."""
        self._settings = settings
        self._has_users = has_users
        self._handshake_rates.configure(settings.handshake_burst, settings.handshake_rate)
        self.messages.configure(settings.message_burst, settings.message_rate)
        self.calls.configure(settings.call_burst, settings.call_rate)

    def enter(self, source: Holder, now: float, evict: Callable[[], None]) -> Place | None:
        """Admit a connection, whose handshake begins; None if a limit is reached.

        `now` is in seconds. `evict` is called if the handshake has to make room for another.
        """
        if (
            self.sessions.total >= self._settings.max_sessions
            or not (self._has_users or self._has_session_for(source))
            or self._handshake_counts.share_of(source) >= self._settings.max_handshakes_per_source
            or not self._handshake_rates.take(source, now)
        ):
            return None
        if len(self._handshakes) >= self._settings.max_handshakes:
            self._busiest().evict()
        place = Place(self, source, evict)
        self._handshakes[place] = None
        self._handshake_counts.add(source, 1)
        return place

    def _busiest(self) -> Place:
        """The oldest handshake of the source that has most. Of several such sources, the oldest of all.

        The new one does not count yet: a user who shares an address with strangers then replaces one of theirs, and is
        not replaced by the next of them.
        """
        return max(self._handshakes, key=lambda place: self._handshake_counts.share_of(place.source))

    def leave_handshakes(self, place: Place) -> None:
        """A handshake has ended."""
        del self._handshakes[place]
        self._handshake_counts.add(place.source, -1)

    def enter_sessions(self, source: Holder, user: bytes) -> Holder | None:
        """Admit a session of an authorized user, or of a source if `user` is empty; None if a limit is reached."""
        if not user:
            if not self._has_session_for(source):
                return None
            holder = source
        else:
            self._handshake_rates.give_back(source)
            holder = Holder(user.hex())
            if (
                self.sessions.total >= self._settings.max_sessions
                or self.sessions.share_of(holder) >= self._settings.max_sessions_per_user
            ):
                return None
        self.sessions.add(holder, 1)
        return holder

    def _has_session_for(self, source: Holder) -> bool:
        """Whether a session without an authorized user can be admitted."""
        kept = -(-self._settings.max_sessions // USERS_SHARE) if self._has_users else 0
        return (
            self.sessions.total < self._settings.max_sessions - kept
            and self.sessions.share_of(source) < self._settings.max_sessions_per_source
        )
