"""A robot whose chunks a test gives out one by one."""

from collections.abc import AsyncGenerator

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from securechat.conversation import Conversation
from securechat.robots.interface import IRobot


@implementer(IRobot)
class PuppetRobot:
    """Answers what a test tells it to, when a test tells it to; or echoes at once, if `echo`."""

    name = "puppet"

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.asked: list[str] = []
        self.turns: list[list[str]] = []
        self.cancelled = 0
        self.closed = 0
        self._next: Deferred[str | None] | None = None

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

    def _wait(self) -> "Deferred[str | None]":
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
        """Let the reply go on."""
        for chunk in chunks:
            assert self._next is not None
            self._next.callback(chunk)

    def end(self) -> None:
        """Let the reply end well."""
        assert self._next is not None
        self._next.callback(None)

    def fail(self, error: Exception) -> None:
        """Let the reply end in an error."""
        assert self._next is not None
        self._next.errback(error)
