"""A robot that repeats each message, for trial sessions and measurements."""

from collections.abc import AsyncGenerator
from typing import Final

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from securechat.conversation import Conversation
from securechat.i18n import N_
from securechat.robots.interface import IRobot, RobotMaker
from securechat.settings import Settings


@implementer(IRobot)
class EchoRobot:
    """Repeats the message."""

    name = "echo"

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        yield conversation.turns[-1].text

    def close(self) -> Deferred[None]:
        return succeed(None)


ECHO: Final = RobotMaker("echo", N_("repeats each message"), Settings, lambda _reactor, _settings, _key: EchoRobot())
