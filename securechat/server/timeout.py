"""One timeout at a time for a connection."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timeout:
    """A timer that is restarted for each part of a connection."""

    __slots__ = ("_call", "_clock", "_expired")

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        """`expired` is called when the time is over."""
        self._clock = clock
        self._expired = expired
        self._call: IDelayedCall | None = None

    def restart(self, seconds: float) -> None:
        """Allow this time from now on."""
        call = self._call
        if call is not None and call.active():
            if self._clock.seconds() + seconds >= call.getTime():
                call.reset(seconds)  # which makes no further call that waits
                return
            call.cancel()
        self._call = self._clock.callLater(seconds, self._expired)

    def stop(self) -> None:
        """The connection is closed. Drop what refers to it, so that it is freed without the garbage collector."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        del self._expired, self._call
