"""Several robots, one after the other: the next answers when the one before cannot."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from securechat.conversation import Conversation, Notice
from securechat.errors import Fault
from securechat.i18n import N_, _
from securechat.robots.circuit_breaker import CircuitOpenError
from securechat.robots.errors import robot_error
from securechat.robots.interface import IRobot

log = Logger()

WHY = {
    Fault.UNREACHABLE: N_("{robot} cannot be reached"),
    Fault.TIMED_OUT: N_("{robot} took too long"),
    Fault.BUSY: N_("{robot} is busy, or its quota is used up"),
    Fault.REFUSED: N_("{robot} refused to answer"),
    Fault.TOO_LONG: N_("this was too long for {robot}"),
}
BROKEN = N_("{robot} is broken")
NO_ANSWER = N_("{robot} has no answer")


@implementer(IRobot)
class FallbackRobot:
    """Asks the first of its robots. Before anything of a reply is there, a fault passes the question on."""

    def __init__(self, robots: Sequence[IRobot]) -> None:
        self.name: str = robots[0].name
        self._robots = robots

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        failed: list[str] = []
        for robot in self._robots:
            notices: list[str] = []  # that came before anything else
            begun = False
            try:
                async with aclosing(robot.reply(conversation)) as chunks:
                    async for chunk in chunks:
                        if not begun and isinstance(chunk, Notice):
                            notices.append(chunk)
                            continue
                        if not begun:
                            begun = True
                            for notice in (*self._who_answers(robot, failed), *notices):
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
                        _("robot {robot}: {fault}: {detail}"),
                        robot=robot.name,
                        fault=failure.fault.name,
                        detail=str(failure),
                    )
                why = WHY.get(failure.fault, BROKEN)
            else:
                if begun:
                    return
                if robot is self._robots[-1]:
                    for notice in notices:
                        yield notice
                    return
                why = NO_ANSWER
            failed.append(_(why).format(robot=robot.name))

    @staticmethod
    def _who_answers(robot: IRobot, failed: list[str]) -> Iterator[Notice]:
        """What the user has to know if it is not the first."""
        if failed:
            yield Notice(_("[{why}; {robot} answers]").format(why="; ".join(failed), robot=robot.name) + "\n")

    def close(self) -> Deferred[None]:
        return gatherResults([robot.close() for robot in self._robots]).addCallback(lambda _closed: None)
