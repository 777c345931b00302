"""One wake-up for all trains whose ticks fall together (protocol, section 10)."""

import math
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

log = Logger()
_log_failure = log.failureHandler("unhandled error at a tick")  # any exception: it must not stop the others

GRID: Final = 5  # milliseconds: trains begin at multiples of it, so that many share a wake-up
LEAD: Final = 5  # milliseconds before it leaves, a record is sealed

Step = Callable[[], None]


class Beat:
    """Calls steps of trains at moments, which are whole milliseconds of the clock.

    At each moment those that write come first, then those that seal what leaves at a later one: sealing takes time that
    depends on the text, and delays no write.
    """

    __slots__ = ("_call", "_call_at", "_clock", "_sealing", "_writing")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._writing: dict[int, list[Step]] = {}
        self._sealing: dict[int, list[Step]] = {}
        self._call: IDelayedCall | None = None
        self._call_at = 0  # the moment of the call

    def base(self) -> int:
        """The moment at which a train may begin now: the next one of the grid."""
        return math.ceil((self._clock.seconds() * 1000 - 0.001) / GRID) * GRID

    def write_at(self, moment: int, step: Step) -> None:
        """Call `step` at a moment, before all that seal."""
        self._writing.setdefault(moment, []).append(step)
        self._wake_at(moment)

    def seal_for(self, moment: int, step: Step) -> None:
        """Call `step` in time to seal what leaves at a moment."""
        self._sealing.setdefault(moment - LEAD, []).append(step)
        self._wake_at(moment - LEAD)

    def forget(self, moment: int, step: Step) -> None:
        """Do not call a step that was to seal for or write at this moment."""
        for steps, at in ((self._writing, moment), (self._sealing, moment - LEAD)):
            if at in steps and step in steps[at]:
                steps[at].remove(step)
                if not steps[at]:
                    del steps[at]
        if self._call is not None and not self._writing and not self._sealing:
            self._call.cancel()
            self._call = None

    def _wake_at(self, moment: int) -> None:
        if self._call is not None:
            if self._call_at <= moment:
                return
            self._call.cancel()
        self._call_at = moment
        self._call = self._clock.callLater(max(0.0, moment / 1000 - self._clock.seconds()), self._strike)

    def _strike(self) -> None:
        """Make up for all moments that have passed, the oldest first."""
        self._call = None
        while self._writing or self._sealing:
            moment = min((*self._writing, *self._sealing))
            if moment / 1000 > self._clock.seconds() + 1e-6:
                self._wake_at(moment)
                return
            for steps in (self._writing, self._sealing):
                for step in steps.pop(moment, ()):
                    with _log_failure:
                        step()
