"""The interfaces of robots: a robot is given a conversation and returns chunks of text."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer

from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation
from securechat.settings import Settings
from securechat.wire.items import Item


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


class IApiRobot(IRobot):
    """A robot that answers API requests itself."""

    models = Attribute("The models that requests may name: a frozenset of str, or None for all of them.")

    def call(call: ApiCall) -> AsyncGenerator[Item, None]:  # noqa: N805
        """The response to a request: its head, then either pieces of its body or server-sent events.

        RobotError if there is no response, or no more of it. It can be closed or cancelled at any time and then stops
        at once. An error response of the robot's server (status 4xx or 5xx) is a response like any other, unless it is
        about the robot's own credentials.
        """


class IRobotMaker(IPlugin):
    """Creates a robot from its settings. It is a Twisted plugin, and found by its name."""

    name = Attribute("The robot's name, as ``--robot`` takes it; a str.")
    summary = Attribute("A description of one line; a str.")
    settings = Attribute("The class of its settings, a subclass of securechat.settings.Settings.")

    def makeRobot(reactor: Any, settings: Any, key: str | None) -> IRobot:  # noqa: N805
        """The robot; ConfigurationError if its settings contradict each other or the key is missing.

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
