"""One wake-up for all trains whose ticks fall together (protocol, section 10).

Records are sealed ahead of their tick, by LEAD or, when many sessions share a tick, by as much as that has taken.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from securechat.distribution import Distribution
from securechat.server.recent import Recent

log = Logger()

GRID: Final = 5  # milliseconds: trains begin at multiples of it, so that many share a wake-up
LEAD: Final = 5  # milliseconds from the sealing of a record to its tick, at least
EARLY: Final = 0.2  # milliseconds from a wake-up to the write that it is for, until the delays of wake-ups are known
MIN_EARLY: Final = 0.03  # milliseconds, once they are
MAX_EARLY: Final = 0.5
DELAYS: Final = 100  # wake-ups; their delays determine how early the next one is …
PUNCTUAL: Final = 0.98  # … so that this part of them would have been in time
SLICE: Final = 10  # milliseconds of steps in a row; then other sockets get their turn …
TURN: Final = 5  # … of so many milliseconds, if several of them wait
COSTS: Final = 100  # ticks; what the sealing for them took determines the lead …
ENOUGH: Final = 0.95  # … which suffices for this part of them: others are delayed by chance, or by other programs
LATENESS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0)  # milliseconds
_ROUNDING: Final = 0.001  # milliseconds: a timer may be early, and times are rounded, by less

Step = Callable[[], None]


class _Agenda:
    """Steps by their moments, which are whole milliseconds."""

    __slots__ = ("_steps", "first")

    def __init__(self) -> None:
        self.first: float = math.inf  # the first moment with a step
        self._steps: dict[int, deque[Step]] = {}

    def add(self, moment: int, step: Step) -> None:
        steps = self._steps.get(moment)
        if steps is None:
            self._steps[moment] = deque((step,))
            self.first = min(self.first, moment)
        else:
            steps.append(step)

    def remove(self, moment: int, step: Step) -> None:
        """Remove a step, if it is there."""
        if step in self._steps.get(moment, ()):
            self._steps[moment].remove(step)
            self._drop_if_empty(moment)

    def take(self) -> Step:
        """Remove the first step, and return it."""
        moment = int(self.first)
        step = self._steps[moment].popleft()
        self._drop_if_empty(moment)
        return step

    def _drop_if_empty(self, moment: int) -> None:
        if not self._steps[moment]:
            del self._steps[moment]
            self.first = min(self._steps, default=math.inf)


class Beat:
    """Calls steps of trains at moments, which are whole milliseconds of the clock.

    Steps that write come before those that seal, also between two of them: sealing takes time that depends on the text,
    and delays no write by more than one step. Steps that are due are called between the events of two sockets, too, so
    that many events, such as a thousand messages that arrive together, delay no write by more than one of them.
    """

    __slots__ = (
        "_call",
        "_call_at",
        "_clock",
        "_costs",
        "_delays",
        "_early",
        "_hold",
        "_max_lead",
        "_sealing",
        "_turn_ends",
        "_writing",
        "lateness",
        "lead",
    )

    def __init__(self, clock: IReactorTime, tick: int) -> None:
        """`tick` is in milliseconds. The lead is at most half of it."""
        self.lead = LEAD  # milliseconds
        self.lateness = Distribution(LATENESS)  # of the steps that write, in milliseconds
        self._clock = clock
        self._hold: Callable[[float], None] | None = getattr(clock, "hold_until", None)  # MonotonicClock's
        self._early = EARLY if self._hold is not None else 0.0
        self._delays = Recent(DELAYS, PUNCTUAL, [EARLY] * DELAYS)  # of wake-ups
        self._max_lead = max(LEAD, tick // 2 // GRID * GRID)
        self._costs = Recent(COSTS, ENOUGH)  # of the sealing for one moment
        self._writing = _Agenda()
        self._sealing = _Agenda()  # by the moments of the writes
        self._call: IDelayedCall | None = None
        self._call_at = math.inf  # the moment of the call; -inf while steps are being called
        self._turn_ends = -math.inf  # that of other sockets
        if (at_checkpoints := getattr(clock, "at_checkpoints", None)) is not None:  # MonotonicClock's
            at_checkpoints(self.catch_up)

    def now(self) -> float:
        """The time in milliseconds."""
        return self._clock.seconds() * 1000

    @property
    def is_idle(self) -> bool:
        """Whether there is no train."""
        return self._next() == math.inf

    def base(self) -> int:
        """The moment at which a train may begin now: the next one of the grid."""
        return math.ceil((self.now() - _ROUNDING) / GRID) * GRID

    def write_at(self, moment: int, step: Step) -> None:
        """Call `step` just before a moment, and before all that seal. It calls `hold_until`."""
        self._writing.add(moment, step)
        self._wake_at(moment - self._early)

    def hold_until(self, moment: int) -> None:
        """Block for what is left until the moment of a step that writes.

        How long the process took to reach this point depends on what it and others did before.
        """
        if self._hold is not None:
            self._hold(moment / 1000)

    def seal_for(self, moment: int, step: Step) -> None:
        """Call `step` in time to seal what leaves at a moment."""
        self._sealing.add(moment, step)
        self._wake_at(moment - self.lead)

    def forget(self, moment: int, step: Step) -> None:
        """Do not call a step that was to seal for or write at this moment."""
        self._writing.remove(moment, step)
        self._sealing.remove(moment, step)
        if self._call is not None and self.is_idle:
            self._call.cancel()
            self._call, self._call_at = None, math.inf

    def catch_up(self) -> None:
        """Call the steps that are due. An event was handled, and others may follow before the clock makes its calls."""
        if self._call is None or (now := self.now()) < self._call_at or now < self._turn_ends:
            return
        self._call.cancel()
        self._strike()

    def _next(self) -> float:
        """The moment of the next step."""
        return min(self._writing.first - self._early, self._sealing.first - self.lead)

    def _wake_at(self, moment: float) -> None:
        if moment >= self._call_at:
            return
        if self._call is not None:
            self._call.cancel()
        self._call_at = moment
        self._call = self._clock.callLater(max(0.0, moment / 1000 - self._clock.seconds()), self._ring)

    def _ring(self) -> None:
        """The process has been woken, later than it should have been. The next wake-ups are earlier by as much."""
        if self._hold is not None:
            self._delays.add(self.now() - self._call_at)
            self._early = min(max(MIN_EARLY, self._delays.usual), MAX_EARLY)
        self._strike()

    def _strike(self) -> None:
        """Call the steps whose moments have come, the oldest first, but not for long."""
        self._call, self._call_at = None, -math.inf
        now = self.now() + _ROUNDING
        end = now + SLICE
        while now < end:
            if self._writing.first - self._early <= now:
                late = now - self._writing.first
                _try(self._writing.take())
                self.lateness.add(max(late, 0.0))
            elif self._sealing.first - self.lead <= now:
                moment = self._sealing.first
                _try(self._sealing.take())
                if self._sealing.first != moment:
                    self._note_cost(self.now() - (moment - self.lead))
            else:
                break
            now = self.now() + _ROUNDING
        else:
            self._turn_ends = now + TURN
        self._call_at = math.inf
        self._wake_at(self._next())

    def _note_cost(self, cost: float) -> None:
        """All is sealed for one moment, so many milliseconds after it could begin."""
        self._costs.add(cost)
        needed = math.ceil((self._costs.usual - _ROUNDING) / GRID) * GRID
        self.lead = min(max(LEAD, needed), self._max_lead)


def _try(step: Step) -> None:
    try:
        step()
    except BaseException:  # any exception: it must not stop the others
        log.failure("unhandled error at a tick")
