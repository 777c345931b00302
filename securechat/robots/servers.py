"""Several servers as one robot: a request that a server does not answer goes to another one at once."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation
from securechat.errors import Fault, RobotError
from securechat.robots.circuit_breaker import CircuitBreaker, CircuitOpenError
from securechat.robots.counters import counters_of
from securechat.robots.errors import UnansweredError, forget_frames
from securechat.robots.fair_queue import FairQueue
from securechat.robots.guard import GuardedApiRobot
from securechat.robots.interface import IApiRobot
from securechat.robots.joint_breaker import JointBreaker
from securechat.robots.server_choice import Candidate, choose
from securechat.wire.items import Head, Item

log = Logger()

BUSY: Final = frozenset((429, 503))  # statuses of a server that cannot take a request now
MOST_LOST: Final = 1  # times that a request is sent again: one that makes servers crash must not reach all of them

T = TypeVar("T")


class _Server:
    """One server: a robot of its own behind a queue and a circuit breaker. Its name is the server's."""

    def __init__(self, robot: IApiRobot, limit: int, clock: Callable[[], float]) -> None:
        self.queue = FairQueue(limit)
        self.breaker = CircuitBreaker(clock)
        self.robot = GuardedApiRobot(robot, self.queue, self.breaker)

    @property
    def is_healthy(self) -> bool:
        """Whether a request would be sent to it."""
        return self.breaker.refusal() is None

    @property
    def state(self) -> Candidate:
        return Candidate(self.robot.name, self.is_healthy, self.queue.active + self.queue.waiting)


@implementer(IApiRobot)
class ServersRobot:
    """Sends each request to one of the servers. Once an answer has begun, a fault ends it."""

    def __init__(self, name: str, servers: Sequence[_Server], limit: int) -> None:
        self.name = name
        self.models: frozenset[str] | None = servers[0].robot.models
        self.counters = [counters for server in servers for counters in counters_of(server.robot)]
        self._servers = {server.robot.name: server for server in servers}
        self._limit = limit

    def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        return self._ask(conversation.user_id, lambda server, _others: server.robot.reply(conversation))

    def call(self, call: ApiCall) -> AsyncGenerator[Item, None]:
        return self._ask(call.user_id, lambda server, others: _call(server, call, others))

    async def _ask(
        self, user: str, ask: Callable[[_Server, Collection[_Server]], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        """The answer of the first server that gives one. `ask` is also told which servers have not been asked."""
        others = dict(self._servers)
        lost = 0
        while True:
            server = others.pop(choose(user, [other.state for other in others.values()], self._limit).name)
            was_open, has_begun = server.breaker.is_open, False
            try:
                async with aclosing(ask(server, others.values())) as parts:
                    async for part in parts:
                        if was_open and not has_begun:
                            log.info("robot {robot}: {server} answers again", robot=self.name, server=server.robot.name)
                        has_begun = True
                        yield part
                return
            except RobotError as error:
                lost += isinstance(error, UnansweredError)
                if has_begun or lost > MOST_LOST or not _is_unanswered(error) or not _any_healthy(others.values()):
                    raise _of_server(server, error) from None
                if not isinstance(error, CircuitOpenError):
                    log.warn(
                        "robot {robot}: {server}: {fault}: {detail}; asking another server",
                        robot=self.name,
                        server=server.robot.name,
                        fault=error.fault.name,
                        detail=str(error),
                    )
                forget_frames(error)

    def close(self) -> Deferred[None]:
        closing = [server.robot.close() for server in self._servers.values()]
        return gatherResults(closing).addCallback(lambda _closed: None)


async def _call(server: _Server, call: ApiCall, others: Collection[_Server]) -> AsyncGenerator[Item, None]:
    """The server's response; RobotError (busy) if its status is one of BUSY and another server can be asked."""
    busy: int | None = None
    async with aclosing(server.robot.call(call)) as items:
        async for item in items:
            if isinstance(item, Head) and item.status in BUSY and _any_healthy(others):
                busy = item.status
            if busy is None:
                yield item
    if busy is not None:
        raise RobotError(Fault.BUSY, f"HTTP status {busy}")


def _any_healthy(servers: Collection[_Server]) -> bool:
    return any(server.is_healthy for server in servers)


def _is_unanswered(error: RobotError) -> bool:
    """Whether the server has not begun to answer the request."""
    return isinstance(error, CircuitOpenError | UnansweredError) or error.fault in (Fault.UNREACHABLE, Fault.BUSY)


def _of_server(server: _Server, error: RobotError) -> RobotError:
    """The error with the server's name."""
    if isinstance(error, CircuitOpenError):
        return error
    return RobotError(error.fault, f"{server.robot.name}: {error}", error.retry_after)


def as_one(name: str, robots: Sequence[IApiRobot], limit: int, clock: Callable[[], float]) -> GuardedApiRobot:
    """A robot for each server, whose name is the server's, as one robot.

    `limit` is the number of concurrent requests to each server; `clock` returns monotonic seconds. Requests wait in a
    queue for all servers, and for a certain server only while others are down.
    """
    servers = [_Server(robot, limit, clock) for robot in robots]
    breaker = JointBreaker([server.breaker for server in servers])
    return GuardedApiRobot(ServersRobot(name, servers, limit), FairQueue(limit * len(servers)), breaker)
