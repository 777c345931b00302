"""Noticing that nothing has arrived for some time, with one timer that looks again instead of one for each record."""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_ROUNDING: Final = 1e-6  # seconds; sums of floating-point times are a little off


class Silence:
    """Calls a function when nothing has been heard for a number of seconds, if it is watched then."""

    __slots__ = ("_call", "_clock", "_do", "_has_looked", "_seconds", "_since", "is_held")

    def __init__(self, clock: IReactorTime, seconds: float, do: Callable[[], None]) -> None:
        self.is_held = False  # set while the peer is not expected to be heard: the silence begins after that
        self._clock = clock
        self._seconds = seconds
        self._do = do
        self._since = clock.seconds()
        self._call: IDelayedCall | None = None
        self._has_looked = False

    def heard(self) -> None:
        """The silence begins now."""
        self._since = self._clock.seconds()

    @property
    def has_lasted(self) -> bool:
        """Whether nothing has been heard for the number of seconds."""
        return not self.is_held and self._left <= _ROUNDING

    @property
    def _left(self) -> float:
        return self._since + self._seconds - self._clock.seconds()

    def watch(self) -> None:
        """Call the function once, when nothing has been heard for the number of seconds."""
        if self._call is None:
            self._has_looked = False
            self._look_in(self._left)

    def stop(self) -> None:
        """Watch no longer."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look_in(self, seconds: float) -> None:
        self._call = self._clock.callLater(max(0.0, seconds), self._look)

    def _look(self) -> None:
        self._call = None
        if self.is_held:
            self.heard()
        if not self.has_lasted:
            self._has_looked = False
            self._look_in(self._left)
        elif not self._has_looked:
            # After a pause of this process, the timer may come before the records that arrived meanwhile.
            self._has_looked = True
            self._look_in(0)
        else:
            self._do()
