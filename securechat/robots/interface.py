"""The interfaces of robots: a robot is given a conversation and returns chunks of text."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from securechat.conversation import Conversation


class IRobot(Interface):
    """A robot: it answers messages."""

    name = Attribute("The name that is shown to users; a str.")

    def reply(conversation: Conversation) -> AsyncGenerator[str, None]:  # noqa: N805
        """The reply to the last turn of a conversation, chunk by chunk.

        RobotError if there is no reply, or no more of it. It can be closed or cancelled at any time and then stops at
        once.
        """

    def close() -> Deferred[None]:
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a robot: ``-R name=value``."""

    name: str
    help: str
    default: str | None = None


class IRobotMaker(IPlugin):
    """Makes a robot from its options. Found by name; whoever provides it is a plugin that Twisted finds."""

    name = Attribute("The robot's name, as ``--robot`` takes it; a str.")
    summary = Attribute("One line on what it is; a str.")
    options = Attribute("Its options; a tuple of Option.")

    def makeRobot(
        reactor: object,  # noqa: N805
        options: Mapping[str, str],
        key: str | None,
    ) -> IRobot:
        """The robot; ConfigurationError if an option is wrong or the key is missing.

        `options` are those given, all known; `key` is the secret from the key file or the environment.
        """
