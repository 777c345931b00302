"""Python's garbage collector, run while no session sends at ticks.

It looks for objects that refer to each other and to which nothing else refers; all others are freed without it. With
1,000 sessions, that stops the process for some 100 milliseconds. Python would begin it whenever enough objects have
been allocated, and every tick of that time would be late.
"""

import gc
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LOOK_INTERVAL: Final = 5.0  # seconds
FEW: Final = 10_000  # objects more than after the last collection: not worth one
MANY: Final = 250_000  # objects, some 50 MB, with which a collection waits no longer


class GarbageCollection:
    """Collects garbage when `is_idle` says so, or when much of it may have accumulated."""

    def __init__(self, clock: IReactorTime, is_idle: Callable[[], bool]) -> None:
        self._clock = clock
        self._is_idle = is_idle
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Take over from Python. What exists now is never looked at again: most of it stays until the process ends."""
        gc.freeze()
        gc.disable()
        self._wait()

    def stop(self) -> None:
        """Leave it to Python again."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
            gc.enable()
            gc.unfreeze()

    def _wait(self) -> None:
        self._call = self._clock.callLater(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        self._wait()
        grown = gc.get_count()[0]  # is counted even while automatic collection is disabled
        if grown > (FEW if self._is_idle() else MANY):
            gc.collect()
