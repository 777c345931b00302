"""The conversation so far: the questions and replies, as they were sent and received."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from securechat.conversation import Speaker, Turn
from securechat.i18n import _
from securechat.wire.messages import MAX_TURNS

MAX_TEXT: Final = 32 * 1024 * 1024  # characters; the oldest exchanges are forgotten beyond that
TURN_HEAD: Final = 7  # bytes of an encoded turn besides its text, at most
TURNS_HEAD: Final = 3  # bytes before the first turn, at most


@dataclass(slots=True)
class Exchange:
    """A message and its reply."""

    question: str
    pieces: list[str] = field(default_factory=list)  # of the reply
    size: int = 0  # characters
    conversation: int = 0  # its number
    is_answered: bool = False  # completely, so that the server remembers it

    @property
    def reply(self) -> str:
        return "".join(self.pieces)


class Transcript:
    """The exchanges, the oldest first."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque()
        self._size = 0
        self._conversation = 0  # the number of those before this one

    def add(self, question: str) -> Exchange:
        """Add a message without a reply."""
        exchange = Exchange(question, size=len(question), conversation=self._conversation)
        self._exchanges.append(exchange)
        self._size += exchange.size
        return exchange

    def extend(self, exchange: Exchange, text: str) -> None:
        """Add to a reply. One that is too long for the memory stays incomplete."""
        while self._size + len(text) > MAX_TEXT and self._exchanges and self._exchanges[0] is not exchange:
            self._size -= self._exchanges.popleft().size
        if text and self._size + len(text) <= MAX_TEXT:
            exchange.pieces.append(text)
            exchange.size += len(text)
            self._size += len(text)

    def start_afresh(self) -> None:
        """A new conversation begins. The earlier ones stay here, but they are not recalled."""
        self._conversation += 1

    def take_back(self) -> Exchange | None:
        """Leave the latest exchange out of the conversation; None if it was no part of it."""
        last = self._exchanges[-1]
        if not last.is_answered or last.conversation != self._conversation:
            return None
        last.is_answered = False
        return last

    def restore(self, exchanges: Iterable[tuple[str, str]]) -> None:
        """Add earlier messages with their replies."""
        for question, reply in exchanges:
            exchange = self.add(question)
            self.extend(exchange, reply)
            exchange.is_answered = True

    def answered(self) -> list[Exchange]:
        """The exchanges of the conversation that the server remembers, or could be reminded of."""
        return [
            exchange
            for exchange in self._exchanges
            if exchange.is_answered and exchange.conversation == self._conversation
        ]

    def turns(self, limit: int) -> list[Turn]:
        """The conversation as the server remembers it: the latest exchanges whose RECALL has at most `limit` bytes."""
        exchanges: deque[Exchange] = deque()
        size = TURNS_HEAD
        for exchange in reversed(self.answered()[-MAX_TURNS // 2 :]):
            size += 2 * TURN_HEAD + len(exchange.question.encode()) + len(exchange.reply.encode())
            if size > limit:
                break
            exchanges.appendleft(exchange)
        return [
            Turn(speaker, text)
            for exchange in exchanges
            for speaker, text in ((Speaker.USER, exchange.question), (Speaker.ROBOT, exchange.reply))
        ]

    def last_question(self) -> str | None:
        """The latest message."""
        return self._exchanges[-1].question if self._exchanges else None

    def reply(self, number: int) -> str | None:
        """The latest reply, the one before it for 2, and so on."""
        replies = [exchange for exchange in self._exchanges if exchange.size > len(exchange.question)]
        return replies[-number].reply if number <= len(replies) else None

    def as_markdown(self, robot: str) -> str:
        """The conversation as a document."""
        you = _("You")
        return "\n".join(
            f"## {you}\n\n{exchange.question}\n\n## {robot}\n\n{exchange.reply.rstrip()}\n"
            for exchange in self._exchanges
        )
