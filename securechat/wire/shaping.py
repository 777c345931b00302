"""Which tick each record leaves at, and when a train of them ends (protocol, section 10).

Nothing here knows a text: a train is told that a message is whole, that a tick has passed, and whether there is more
to come. It is driven by the times that it is given.
"""

from enum import StrEnum
from typing import Final

DEFAULT_TICK: Final = 0.1  # seconds from one record to the next
MIN_TICK: Final = 0.01  # below, what a tick costs is most of what it does
MAX_TICK: Final = 0.25  # above, text would arrive in gulps

UNIT: Final = 50  # ticks: the shortest train
_BUCKETS: Final = frozenset(int(UNIT * factor) for factor in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24))
_LAST: Final = max(_BUCKETS)
_FURTHER: Final = 12 * UNIT  # from one bucket to the next, after the last that has a name


class Shaping(StrEnum):
    """What the server's records tell of a reply, besides that there is one."""

    REPLY = "reply"  # its bucket: a train of records for each message
    CONSTANT = "constant"  # nothing: one train for the whole session
    OFF = "off"  # its length and its pace: for trusted networks, and for measuring


def is_bucket(ticks: int) -> bool:
    """Whether a train may end after so many ticks."""
    return ticks in _BUCKETS or (ticks > _LAST and (ticks - _LAST) % _FURTHER == 0)


class Train:
    """The ticks of one session: tick k at t0 + k·tick. Times are whole milliseconds of a monotonic clock."""

    __slots__ = ("_in_bucket", "_start", "_tick", "_ticks", "is_endless", "is_running")

    def __init__(self, tick: int, *, endless: bool = False) -> None:
        self.is_endless = endless
        self.is_running = False
        self._tick = tick
        self._start = 0  # t0
        self._ticks = 0  # since then
        self._in_bucket = 0  # since the last message was whole

    def start(self, now: int) -> None:
        """A message is whole and no train is running: t0 is now."""
        self.is_running = True
        self._start = now
        self._ticks = 0
        self._in_bucket = 0

    def extend(self) -> None:
        """A message is whole while the train is running: its bucket is counted from here."""
        self._in_bucket = 0

    @property
    def next_tick(self) -> int:
        """When the next records leave. A tick that was missed is made up for at once, so that time tells the count."""
        return self._start + (self._ticks + 1) * self._tick

    def pass_tick(self, *, more: bool) -> None:
        """Records left; `more`: a reply, or its end, is still to come. The train ends at a bucket without."""
        self._ticks += 1
        self._in_bucket += 1
        if not more and not self.is_endless and is_bucket(self._in_bucket):
            self.is_running = False
