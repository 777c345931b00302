"""The conversation so far: the questions and replies, as they were sent and received."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from securechat.i18n import _

MAX_TEXT: Final = 32 * 1024 * 1024  # characters; the oldest exchanges are forgotten beyond that


@dataclass(slots=True)
class Exchange:
    """A message and its reply."""

    question: str
    pieces: list[str] = field(default_factory=list)  # of the reply
    size: int = 0  # characters

    @property
    def reply(self) -> str:
        return "".join(self.pieces)


class Transcript:
    """The exchanges, the oldest first."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque()
        self._size = 0

    def add(self, question: str) -> Exchange:
        """Add a message without a reply."""
        exchange = Exchange(question, size=len(question))
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

    def last_question(self) -> str | None:
        """The latest message."""
        return self._exchanges[-1].question if self._exchanges else None

    def reply(self, number: int) -> str | None:
        """The latest reply, the one before it for 2, and so on."""
        replies = [exchange for exchange in self._exchanges if exchange.size > len(exchange.question)]
        return replies[-number].reply if number <= len(replies) else None

    def as_markdown(self, robot: str) -> str:
        """The conversation as a document."""
        return "\n".join(
            f"## {_('You')}\n\n{exchange.question}\n\n## {robot}\n\n{exchange.reply.rstrip()}\n"
            for exchange in self._exchanges
        )
