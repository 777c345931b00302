"""A circuit breaker: a robot that is down is not asked for a while, so that no user waits for its timeout."""

import random
from collections.abc import Callable
from typing import Final, Protocol

from securechat.errors import Fault, RobotError

FIRST_PAUSE: Final = 1.0  # seconds; doubled after each pause that ends in a failure
LONGEST_PAUSE: Final = 60.0
JITTER: Final = 0.2  # of a pause; added at random, so that servers that failed together are not retried together
MAX_FAILURES: Final = 3  # in a row, of those that one alone does not prove that the robot is down

OPENS_AT_ONCE: Final = frozenset({Fault.UNREACHABLE})
OPENS_IN_A_ROW: Final = frozenset({Fault.TIMED_OUT, Fault.BROKEN_ANSWER, Fault.INTERNAL})


class CircuitOpenError(RobotError):
    """The robot was not asked, because it has just failed. That failure has been logged; this one need not be."""


class Breaker(Protocol):
    """The interface of a circuit breaker."""

    @property
    def is_open(self) -> bool:
        """Whether the robot is not asked, except to test it."""

    def enter(self) -> None:
        """A request is about to be sent. CircuitOpenError if the circuit is open or another request is testing."""

    def succeeded(self) -> None:
        """The robot answered."""

    def failed(self, error: RobotError) -> None:
        """A request failed, before the reply or within it."""

    def abandoned(self) -> None:
        """A request was cancelled, which says nothing about the robot."""


class CircuitBreaker:
    """Closed while a robot answers. A failure opens it for a pause, after which a single request tests the robot."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        """`clock` returns monotonic seconds, `jitter` numbers from 0 to 1."""
        self._clock = clock
        self._jitter = jitter
        self._failure: RobotError | None = None  # the one that opened it
        self._open_until = 0.0
        self._pause = 0.0
        self._failures = 0  # in a row
        self._testing = False

    @property
    def is_open(self) -> bool:
        """Whether the robot is not asked, except to test it."""
        return self._failure is not None

    def refusal(self) -> CircuitOpenError | None:
        """Why a request would not be sent now: the circuit is open, or another request is testing."""
        if self._failure is None:
            return None
        left = max(0.0, self._open_until - self._clock())
        return CircuitOpenError(self._failure.fault, str(self._failure), left) if left or self._testing else None

    def enter(self) -> None:
        """A request is about to be sent. CircuitOpenError if the circuit is open or another request is testing."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        self._testing = self._failure is not None

    def succeeded(self) -> None:
        """The robot answered."""
        self._failure = None
        self._testing = False
        self._pause = 0.0
        self._failures = 0

    def failed(self, error: RobotError) -> None:
        """A request failed, before the reply or within it."""
        if error.fault not in OPENS_AT_ONCE | OPENS_IN_A_ROW and error.retry_after is None:
            self.succeeded()  # a refusal is an answer, too
            return
        if self._failure is not None and not self._testing:
            return  # a request from before the circuit opened
        self._failures += 1
        at_once = error.fault in OPENS_AT_ONCE or error.retry_after is not None
        if at_once or self._testing or self._failures >= MAX_FAILURES:
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
            pause = self._pause * (1 + JITTER * self._jitter())
            self._open_until = self._clock() + max(pause, error.retry_after or 0.0)
            self._failure = error
        self._testing = False

    def abandoned(self) -> None:
        """A request was cancelled, which says nothing about the robot."""
        self._testing = False
