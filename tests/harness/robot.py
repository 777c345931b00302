"""A robot under the test's control, and a user that talks to robots."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.calls.requests import ApiCall
from securechat.conversation import Conversation, Speaker, Turn
from securechat.errors import Fault, RobotError
from securechat.robots.interface import IApiRobot, IRobot
from securechat.wire.items import Head, Piece, ServerEvent


@implementer(IRobot)
class PuppetRobot:
    """Sends the chunks that a test passes to `say`; or repeats each message, if `echo`."""

    name = "puppet"

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.asked: list[str] = []
        self.turns: list[list[str]] = []
        self.cancelled = 0
        self.closed = 0
        self._next: Deferred[Any] | None = None

    async def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        self.asked.append(conversation.turns[-1].text)
        self.turns.append([turn.text for turn in conversation.turns])
        if self.echo:
            yield conversation.turns[-1].text
            return
        try:
            while (chunk := await self._wait()) is not None:
                yield chunk
        except CancelledError:
            self.cancelled += 1
            raise

    def _wait(self) -> "Deferred[Any]":
        self._next = Deferred()
        return self._next

    def close(self) -> "Deferred[None]":
        self.closed += 1
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    @property
    def is_waiting(self) -> bool:
        return self._next is not None and not self._next.called

    def say(self, *chunks: str) -> None:
        """Send chunks of the reply."""
        for chunk in chunks:
            assert self._next is not None
            self._next.callback(chunk)

    def end(self) -> None:
        """End the reply."""
        assert self._next is not None
        self._next.callback(None)

    def fail(self, error: Exception) -> None:
        """End the reply with an error."""
        assert self._next is not None
        self._next.errback(error)


@implementer(IApiRobot)
class ApiPuppet(PuppetRobot):
    """Answers API requests with the items that a test passes to `give`; `end` and `fail` end the response."""

    def __init__(self, *, echo: bool = False, models: frozenset[str] | None = None) -> None:
        super().__init__(echo=echo)
        self.models = models
        self.calls: list[ApiCall] = []

    async def call(self, call: ApiCall) -> AsyncGenerator[Head | Piece | ServerEvent, None]:
        self.calls.append(call)
        try:
            while (item := await self._wait()) is not None:
                yield item
        except (CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    def give(self, *items: Head | Piece | ServerEvent) -> None:
        """Send items of the response."""
        for item in items:
            assert self._next is not None
            self._next.callback(item)


class EndlessRobot(PuppetRobot):
    """Never ends a reply. `stopped` has the messages whose replies were closed, rather than left to be collected."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped: list[str] = []
        self._replies: list[AsyncGenerator[str, None]] = []  # so that they are not

    def reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        self._replies.append(self._reply(conversation))
        return self._replies[-1]

    async def _reply(self, conversation: Conversation) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x" * 600
        finally:
            self.stopped.append(conversation.turns[-1].text)


def conversation(user: str = "ann", text: str = "x", queue_key: str = "") -> Conversation:
    return Conversation(user, [Turn(Speaker.USER, text)], queue_key)


class Listener:
    """A request to a robot. `heard` are the chunks so far; `done` fires at the end of the reply."""

    def __init__(self, robot: object, user: str = "ann", text: str = "x", *, queue_key: str = "") -> None:
        self.heard: list[str] = []
        chunks = cast(IRobot, robot).reply(conversation(user, text, queue_key))
        self.done = Deferred.fromCoroutine(self._listen(chunks))

    async def _listen(self, chunks: AsyncGenerator[str, None]) -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                self.heard.append(chunk)


class ListenerTestCase(SynchronousTestCase):
    def fault_of(self, listener: Listener) -> Fault:
        return cast(RobotError, self.failureResultOf(listener.done, RobotError).value).fault

    def abandon(self, listener: Listener) -> None:
        listener.done.cancel()
        self.failureResultOf(listener.done, CancelledError)
