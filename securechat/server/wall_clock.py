"""A watch on the system clock, which may be wrong or be set while the daemon runs.

The daemon's own timers do not follow it. The expiry of keys and the times in the log do.
"""

import time
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

log = Logger()

# Seconds since 1970. An earlier time is wrong, as on a machine without a battery for its clock.
EARLIEST: Final = 1_764_000_000.0
LOOK_INTERVAL: Final = 10.0  # seconds
MIN_STEP: Final = 2.0  # seconds; time synchronization corrects less without setting the clock


class WallClock:
    """Logs that the system clock is wrong or was set."""

    def __init__(self, clock: IReactorTime, wall_clock: Callable[[], float] = time.time) -> None:
        """`clock` must be monotonic."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._offset = 0.0  # of the system clock
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to watch the clock."""
        now = self._wall_clock()
        if now < EARLIEST:
            log.warn(
                "the system clock is wrong ({date}): keys do not expire in time",
                date=time.strftime("%Y-%m-%d", time.gmtime(now)),
            )
        self._offset = now - self._clock.seconds()
        self._loop.start(LOOK_INTERVAL, now=False)

    def stop(self) -> None:
        """Stop watching the clock."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        before, self._offset = self._offset, self._wall_clock() - self._clock.seconds()
        step = self._offset - before
        if step >= MIN_STEP:
            log.warn("the system clock was set forward by {seconds:.0f} s, or the machine was suspended", seconds=step)
        elif step <= -MIN_STEP:
            log.warn("the system clock was set back by {seconds:.0f} s", seconds=-step)
