"""How long a session may last: its maximum age, and the time without a message."""

import math

from twisted.internet.interfaces import IReactorTime

from securechat.wire.connection import MAX_AGE
from securechat.wire.messages import Reason


class Lifetime:
    """The age of a session, and the time since its last message."""

    __slots__ = ("_active_at", "_admitted_at", "_clock", "_idle_timeout")

    def __init__(self, clock: IReactorTime, idle_timeout: float) -> None:
        """The session begins now. `idle_timeout` is in seconds; 0 is no limit."""
        self._clock = clock
        self._idle_timeout = idle_timeout or math.inf
        self._admitted_at = self._active_at = clock.seconds()

    def note_activity(self) -> None:
        """A message has arrived, or the reply to one is in progress."""
        self._active_at = self._clock.seconds()

    @property
    def age(self) -> float:
        """Seconds since the client was admitted."""
        return self._clock.seconds() - self._admitted_at

    @property
    def idle(self) -> float:
        """Seconds since the last activity."""
        return self._clock.seconds() - self._active_at

    def check(self) -> Reason | float:
        """Why the session has to end now, or the seconds after which to check again."""
        now = self._clock.seconds()
        too_old_at = self._admitted_at + MAX_AGE
        idle_at = self._active_at + self._idle_timeout
        if now >= too_old_at:
            return Reason.TOO_OLD
        if now >= idle_at:
            return Reason.IDLE
        return min(too_old_at, idle_at) - now
