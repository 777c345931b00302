"""Several robots as one: if one fails, the next one answers."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from securechat.conversation import Conversation, Notice
from securechat.errors import Fault
from securechat.i18n import N_, _
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.counters import counters_of
from securechat.robots.errors import robot_error
from securechat.robots.interface import IRobot

log = Logger()

REASONS: Final = {
    Fault.UNREACHABLE: N_("{robot} cannot be reached"),
    Fault.TIMED_OUT: N_("{robot} took too long"),
    Fault.BUSY: N_("{robot} is busy or over its quota"),
    Fault.REFUSED: N_("{robot} refused to answer"),
    Fault.TOO_LONG: N_("the message is too long for {robot}"),
}
OTHER_FAULT: Final = N_("{robot} failed")
NO_ANSWER: Final = N_("{robot} has no answer")


@implementer(IRobot)
class FallbackRobot:
    """Asks its robots in order until one answers. Once a reply has begun, a fault ends it."""

    def __init__(self, robots: Sequence[IRobot]) -> None:
        self.name: str = robots[0].name
        self._robots = robots
        self.counters = [counters for robot in robots for counters in counters_of(robot)]

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        reasons: list[str] = []
        for robot in self._robots:
            notices: list[str] = []  # those before the reply
            begun = False
            try:
                async with aclosing(robot.reply(conversation)) as chunks:
                    async for chunk in chunks:
                        if not begun and isinstance(chunk, Notice):
                            notices.append(chunk)
                            continue
                        if not begun:
                            begun = True
                            for notice in (*self._explain(robot, reasons), *notices):
                                yield notice
                        yield chunk
            except CancelledError:
                raise
            except Exception as error:
                failure = robot_error(error)
                if begun or robot is self._robots[-1]:
                    raise failure from None
                if not isinstance(failure, CircuitOpenError):
                    log.warn(
                        "robot {robot}: {fault}: {detail}",
                        robot=robot.name,
                        fault=failure.fault.name,
                        detail=str(failure),
                    )
                reason = REASONS.get(failure.fault, OTHER_FAULT)
            else:
                if begun:
                    return
                if robot is self._robots[-1]:
                    for notice in notices:
                        yield notice
                    return
                reason = NO_ANSWER
            reasons.append(_(reason).format(robot=robot.name))

    @staticmethod
    def _explain(robot: IRobot, reasons: list[str]) -> Iterator[Notice]:
        """Why this robot answers, unless it is the first one."""
        if reasons:
            # Translators: "; " stands between the reasons
            text = _("[{reasons}; {robot} answers instead]").format(reasons=_("; ").join(reasons), robot=robot.name)
            yield Notice(text + "\n")

    def close(self) -> Deferred[None]:
        return gatherResults([robot.close() for robot in self._robots]).addCallback(lambda _closed: None)
