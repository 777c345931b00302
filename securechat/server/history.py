"""What of a conversation is remembered: whole questions with their answers, the newest, up to a number and a size."""

from dataclasses import dataclass
from typing import Final

from securechat.conversation import Speaker, Turn

DEFAULT_TURNS: Final = 40  # twenty questions and their answers
DEFAULT_BYTES: Final = 64 * 1024  # of UTF-8: a few thousand words, which fit what most robots can be told


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """What one session may remember. The oldest are forgotten first."""

    turns: int = DEFAULT_TURNS
    bytes: int = DEFAULT_BYTES


class History:
    """One session's turns that were answered whole, oldest first."""

    __slots__ = ("_limits", "_size", "_sizes", "turns")

    def __init__(self, limits: HistoryLimits) -> None:
        self.turns: list[Turn] = []
        self._limits = limits
        self._sizes: list[int] = []  # of each question with its answer
        self._size = 0

    def add(self, asked: Turn, answer: str) -> None:
        """Remember a question with its answer, and forget what there is no room for."""
        size = _size(asked.text) + _size(answer)
        self.turns += (asked, Turn(Speaker.ROBOT, answer))
        self._sizes.append(size)
        self._size += size
        while len(self.turns) > self._limits.turns or self._size > self._limits.bytes:
            self._size -= self._sizes.pop(0)
            del self.turns[:2]

    def clear(self) -> None:
        self.turns.clear()
        self._sizes.clear()
        self._size = 0


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))
