"""``python -m sidechannel.naive``: twistd, whose daemon uses Twisted's own timers and reads text when it arrives."""

from collections.abc import AsyncGenerator
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.scripts.twistd import run
from zope.interface import implementer

from securechat import tap
from securechat.conversation import Conversation
from securechat.robots.interface import IRobot
from securechat.robots.registry import make_robots


@implementer(IRobot)
class ReadWhenItArrives:
    """A robot that does not wait for the ticks of a session."""

    def __init__(self, robot: IRobot) -> None:
        self.name = robot.name
        self._robot = robot

    def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        conversation.upstream = None
        return self._robot.reply(conversation)

    def close(self) -> Deferred[None]:
        return self._robot.close()


def make_naive_robots(*arguments: Any) -> IRobot:
    return ReadWhenItArrives(make_robots(*arguments))


if __name__ == "__main__":
    with (
        patch.object(tap, "MonotonicReactor", lambda reactor: reactor),
        patch.object(tap, "make_robots", make_naive_robots),
    ):
        run()
