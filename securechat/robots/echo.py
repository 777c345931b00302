"""A robot that repeats each message, for trial sessions and measurements."""

from collections.abc import AsyncGenerator, Mapping

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from securechat.conversation import Conversation
from securechat.i18n import N_
from securechat.robots.interface import IRobot, IRobotMaker, Option


@implementer(IRobot)
class EchoRobot:
    """Repeats the message."""

    name = "echo"

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        yield conversation.turns[-1].text

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(IRobotMaker)
class EchoMaker:
    """``--robot echo``"""

    name = "echo"
    summary = N_("says what you said")
    options: tuple[Option, ...] = ()

    def makeRobot(self, reactor: object, options: Mapping[str, str], key: str | None) -> IRobot:
        return EchoRobot()
