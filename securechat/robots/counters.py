"""What is counted of a remote robot."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from securechat.distribution import Distribution
from securechat.errors import Fault
from securechat.robots.circuit_breaker import Breaker
from securechat.robots.fair_queue import FairQueue

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

OK: Final = "ok"
CIRCUIT_OPEN: Final = "circuit-open"  # the robot was not asked


def outcome_of(fault: Fault | None) -> str:
    """The name under which replies are counted that end in a fault or, if it is None, are complete."""
    return OK if fault is None else fault.name.lower().replace("_", "-")


class RobotCounters:
    """The requests to one robot, by outcome, and how long they took; time in the queue does not count."""

    def __init__(
        self,
        name: str,
        queue: FairQueue,
        breaker: Breaker,
        servers: Sequence["RobotCounters"] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`servers` are the counters of each server, if there are several; `clock` returns monotonic seconds."""
        self.name = name
        self.queue = queue
        self.breaker = breaker
        self.servers = servers
        self.clock = clock
        self.outcomes: Counter[str] = Counter()
        self.first = Distribution(SECONDS)  # until the first part of an answer
        self.whole = Distribution(SECONDS)  # until the end of a complete answer


def counters_of(robot: object) -> list[RobotCounters]:
    """The counters of all remote robots behind a robot."""
    return list(getattr(robot, "counters", ()))
