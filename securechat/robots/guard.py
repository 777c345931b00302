"""A remote robot behind a queue and a circuit breaker."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from securechat.conversation import Conversation
from securechat.robots.circuit_breaker import CircuitBreaker
from securechat.robots.errors import robot_error
from securechat.robots.fair_queue import FairQueue
from securechat.robots.interface import IRobot


@implementer(IRobot)
class GuardedRobot:
    """Asks a robot when the queue has a free slot, unless the circuit is open."""

    def __init__(self, robot: IRobot, queue: FairQueue, breaker: CircuitBreaker) -> None:
        self.name: str = robot.name
        self._robot = robot
        self._queue = queue
        self._breaker = breaker

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        async with self._queue.slot(conversation.queue_key or conversation.user_id):
            self._breaker.enter()
            try:
                async with aclosing(self._robot.reply(conversation)) as chunks:
                    async for chunk in chunks:
                        self._breaker.succeeded()
                        yield chunk
            except (CancelledError, GeneratorExit):
                self._breaker.abandoned()
                raise
            except Exception as error:
                failure = robot_error(error)
                self._breaker.failed(failure)
                raise failure from None
            self._breaker.succeeded()

    def close(self) -> Deferred[None]:
        return self._robot.close()
