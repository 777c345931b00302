"""A circuit breaker: a robot that is down is left alone for a while, and costs nobody its timeout."""

import random
from collections.abc import Callable
from typing import Final

from securechat.errors import Fault, RobotError

FIRST_PAUSE: Final = 1.0  # seconds; each failure after a pause doubles it
LONGEST_PAUSE: Final = 60.0
JITTER: Final = 0.2  # of a pause, at most that much longer: servers that fail together do not come back together
PATIENCE: Final = 3  # answers that fail one after the other, where one alone says little about the next

AT_ONCE: Final = frozenset({Fault.UNREACHABLE})
IN_A_ROW: Final = frozenset({Fault.TIMED_OUT, Fault.BROKEN_ANSWER, Fault.INTERNAL})


class CircuitOpenError(RobotError):
    """The robot was not asked, because it failed a moment ago. Nothing new for a log."""


class CircuitBreaker:
    """Closed while a robot answers; open for a pause after it failed; then one question finds out."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        """`clock` gives monotonic seconds, `jitter` numbers from 0 to 1."""
        self._clock = clock
        self._jitter = jitter
        self._failure: RobotError | None = None  # the one that opened it
        self._open_until = 0.0
        self._pause = 0.0
        self._in_a_row = 0
        self._probing = False

    def enter(self) -> None:
        """A question is about to be asked; CircuitOpenError if it should not be."""
        if self._failure is None:
            return
        left = max(0.0, self._open_until - self._clock())
        if left or self._probing:
            raise CircuitOpenError(self._failure.fault, str(self._failure), left)
        self._probing = True

    def answered(self) -> None:
        """The robot is alive."""
        self._failure = None
        self._probing = False
        self._pause = 0.0
        self._in_a_row = 0

    def failed(self, error: RobotError) -> None:
        """A question was not answered, or not to the end."""
        if error.fault not in AT_ONCE | IN_A_ROW and error.retry_after is None:
            self.answered()  # whoever refuses is there
            return
        if self._failure is not None and not self._probing:
            return  # it was asked before the breaker opened
        self._in_a_row += 1
        if error.fault in AT_ONCE or error.retry_after is not None or self._probing or self._in_a_row >= PATIENCE:
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
            pause = self._pause * (1 + JITTER * self._jitter())
            self._open_until = self._clock() + max(pause, error.retry_after or 0.0)
            self._failure = error
        self._probing = False

    def abandoned(self) -> None:
        """The user did not wait for the answer: that says nothing about the robot."""
        self._probing = False
