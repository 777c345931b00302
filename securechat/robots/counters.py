"""What is counted of a remote robot."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from securechat.distribution import SECONDS, Distribution
from securechat.errors import Fault
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.fair_queue import FairQueue

OK: Final = "ok"
CIRCUIT_OPEN: Final = "circuit-open"  # the robot was not asked


def outcome_of(fault: Fault | None) -> str:
    """The name under which replies are counted that end in a fault or, if it is None, are complete."""
    return OK if fault is None else fault.name.lower().replace("_", "-")


class RobotCounters:
    """The requests to one robot, by outcome, and how long they took; time in the queue does not count."""

    def __init__(
        self, name: str, queue: FairQueue, breaker: CircuitBreaker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` returns monotonic seconds."""
        self.name = name
        self.queue = queue
        self.breaker = breaker
        self.clock = clock
        self.outcomes: Counter[str] = Counter()
        self.first = Distribution(SECONDS)  # until the first part of an answer
        self.whole = Distribution(SECONDS)  # until the end of a complete answer


def counters_of(robot: object) -> list[RobotCounters]:
    """The counters of all remote robots behind a robot."""
    return list(getattr(robot, "counters", ()))
