"""What a robot is: it gets a conversation and gives chunks of text."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer

from securechat.conversation import Conversation
from securechat.settings import Settings


class IRobot(Interface):
    """Someone who answers."""

    name = Attribute("What users see of who answers; a str.")

    def reply(conversation: Conversation) -> AsyncGenerator[str, None]:  # noqa: N805
        """The answer to the conversation's last turn, in chunks, as they come.

        RobotError if there is none, also in the middle. Closed or cancelled at any moment, it stops at once.
        """

    def close() -> Deferred[None]:
        """Let go of all connections."""


class IRobotMaker(IPlugin):
    """Makes a robot from its options. Found by name; whoever provides it is a plugin that Twisted finds."""

    name = Attribute("The robot's name, as ``--robot`` takes it; a str.")
    summary = Attribute("One line on what it is; a str.")
    settings = Attribute("The class of its settings, a subclass of securechat.settings.Settings.")

    def makeRobot(reactor: Any, settings: Any, key: str | None) -> IRobot:  # noqa: N805
        """The robot; ConfigurationError if its settings do not fit together or the key is missing.

        `settings` is an instance of the class above; `key` is the secret from the key file or the environment.
        """


@implementer(IRobotMaker)
@dataclass(frozen=True, slots=True)
class RobotMaker:
    """A robot's name and summary, the class of its settings, and the callable that makes it, such as its class."""

    name: str
    summary: str
    settings: type[Settings]
    make: Callable[[Any, Any, str | None], IRobot]

    def makeRobot(self, reactor: Any, settings: Any, key: str | None) -> IRobot:
        return self.make(reactor, settings, key)
