"""The shape of what is sent: the sizes of a client's bursts, the schedule of a server's trains (protocol, section 10).

The schedule does not depend on the text of replies: a train is told when a message is complete, when a tick has passed,
and whether more of a reply is to come. Times are whole milliseconds of a monotonic clock.
"""

import math
from enum import StrEnum
from typing import Final

MIN_TICK: Final = 0.01  # seconds; below this, the overhead of a tick dominates
MAX_TICK: Final = 0.25  # seconds; above this, text arrives in bursts

_POWERS_OF_TWO: Final = 128  # records; larger bursts have twice as many sizes

UNIT: Final = 50  # ticks of the shortest train
_BUCKETS: Final = frozenset(int(UNIT * factor) for factor in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24))
_LAST: Final = max(_BUCKETS)
_FURTHER: Final = 12 * UNIT  # ticks from one bucket to the next, above _LAST


class Shaping(StrEnum):
    """What the number and the times of the server's records reveal about a reply."""

    REPLY = "reply"  # its bucket: one train for each message
    CONSTANT = "constant"  # nothing: one train for the entire session
    OFF = "off"  # its length and timing; for trusted networks and benchmarks


SHAPINGS: Final = (Shaping.OFF, Shaping.REPLY, Shaping.CONSTANT)  # by their number in ABOUT


def burst_size(records: int) -> int:
    """The number of records to which a burst of so many is filled: a power of two up to 128, then ⌈√(2^k)⌉."""
    if records <= _POWERS_OF_TWO:
        return 1 << (records - 1).bit_length()
    k = ((records - 1) ** 2).bit_length()  # the least with √(2^k) > records - 1
    return math.isqrt((1 << k) - 1) + 1


def is_bucket(ticks: int) -> bool:
    """Whether a train may end after this number of ticks."""
    return ticks in _BUCKETS or (ticks > _LAST and (ticks - _LAST) % _FURTHER == 0)


def next_bucket(ticks: int) -> int:
    """The first bucket that holds this number of ticks."""
    while not is_bucket(ticks):
        ticks += 1
    return ticks


class Train:
    """The ticks of one session: tick k is at t0 + k·tick. Times are whole milliseconds."""

    __slots__ = ("_in_bucket", "_is_fixed", "_start", "_tick", "_ticks", "is_endless", "is_running")

    def __init__(self, tick: int, *, endless: bool = False) -> None:
        self.is_endless = endless
        self.is_running = False
        self._tick = tick
        self._start = 0  # t0
        self._ticks = 0  # since t0
        self._in_bucket = 0  # ticks since the last message was complete
        self._is_fixed = False  # further messages do not move the bucket

    def start(self, now: int) -> None:
        """A message is complete and no train is running: t0 is now."""
        self.is_running = True
        self._start = now
        self._ticks = 0
        self._in_bucket = 0
        self._is_fixed = False

    def extend(self) -> None:
        """A message is complete while the train is running: its bucket is counted from here, unless it is fixed."""
        if not self._is_fixed:
            self._in_bucket = 0

    def fix_bucket(self) -> None:
        """Until the train ends, its bucket is counted from the last message so far."""
        self._is_fixed = True

    def end_at_bucket(self) -> None:
        """A train without an end, too, is to end at the bucket that holds what is left."""
        self.is_endless = False

    @property
    def next_tick(self) -> int:
        """The time of the next tick. It is in the past if a tick was missed; its records are to be sent at once."""
        return self._start + (self._ticks + 1) * self._tick

    def pass_tick(self, *, more: bool) -> None:
        """Records were sent. `more`: part of a reply is still to come; without it the train ends at the next bucket."""
        self._ticks += 1
        self._in_bucket += 1
        if not more and not self.is_endless and is_bucket(self._in_bucket):
            self.is_running = False
