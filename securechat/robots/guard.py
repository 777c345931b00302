"""A remote robot behind a queue and a circuit breaker."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation
from securechat.errors import Fault
from securechat.robots.circuit_breaker import Breaker, CircuitOpenError
from securechat.robots.counters import CIRCUIT_OPEN, RobotCounters, counters_of, outcome_of
from securechat.robots.errors import robot_error
from securechat.robots.fair_queue import FairQueue
from securechat.robots.interface import IApiRobot, IRobot
from securechat.wire.items import Item

T = TypeVar("T")


@implementer(IRobot)
class GuardedRobot:
    """Asks a robot when the queue has a free slot, unless the circuit is open."""

    def __init__(self, robot: IRobot, queue: FairQueue, breaker: Breaker) -> None:
        self.name: str = robot.name
        self._robot = robot
        self._queue = queue
        self._breaker = breaker
        self._counters = RobotCounters(robot.name, queue, breaker, counters_of(robot))
        self.counters = [self._counters]

    def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        return self._ask(conversation.queue_key or conversation.user_id, lambda: self._robot.reply(conversation))

    async def _ask(self, key: str, ask: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        counters = self._counters
        async with self._queue.slot(key):
            try:
                self._breaker.enter()
            except CircuitOpenError:
                counters.outcomes[CIRCUIT_OPEN] += 1
                raise
            start, has_begun = counters.clock(), False
            try:
                async with aclosing(ask()) as parts:
                    async for part in parts:
                        self._breaker.succeeded()
                        if not has_begun:
                            has_begun = True
                            counters.first.add(counters.clock() - start)
                        yield part
            except (CancelledError, GeneratorExit):
                self._breaker.abandoned()
                counters.outcomes[outcome_of(Fault.CANCELLED)] += 1
                raise
            except Exception as error:
                failure = robot_error(error)
                self._breaker.failed(failure)
                counters.outcomes[outcome_of(failure.fault)] += 1
                raise failure from None
            self._breaker.succeeded()
            counters.outcomes[outcome_of(None)] += 1
            counters.whole.add(counters.clock() - start)

    def close(self) -> Deferred[None]:
        return self._robot.close()


@implementer(IApiRobot)
class GuardedApiRobot(GuardedRobot):
    """The same for a robot that answers API requests.

    Any response shows that the robot's server is up, also one with an error: many of those are about the request.
    """

    def __init__(self, robot: IApiRobot, queue: FairQueue, breaker: Breaker) -> None:
        super().__init__(robot, queue, breaker)
        self._api_robot = robot
        self.models: frozenset[str] | None = robot.models

    def call(self, call: ApiCall) -> AsyncGenerator[Item, None]:
        return self._ask(call.queue_key or call.user_id, lambda: self._api_robot.call(call))


def guard(robot: IRobot, queue: FairQueue, breaker: Breaker) -> GuardedRobot:
    """The robot behind these, with the interfaces that it has itself."""
    if IApiRobot.providedBy(robot):
        return GuardedApiRobot(robot, queue, breaker)
    return GuardedRobot(robot, queue, breaker)
