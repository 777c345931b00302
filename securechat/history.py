"""What of a conversation is remembered: whole questions with their answers, the newest, up to a number and a size."""

from dataclasses import dataclass
from typing import Final

from securechat.robots.interface import Speaker, Turn

DEFAULT_TURNS: Final = 40  # twenty questions and their answers
DEFAULT_BYTES: Final = 64 * 1024  # of UTF-8: a few thousand words, which fit what most robots can be told


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """What one session may remember. The oldest are forgotten first."""

    turns: int = DEFAULT_TURNS
    bytes: int = DEFAULT_BYTES


class History:
    """One session's turns that were answered whole, oldest first."""

    __slots__ = ("_limits", "_size", "turns")

    def __init__(self, limits: HistoryLimits) -> None:
        self.turns: list[Turn] = []
        self._limits = limits
        self._size = 0

    def add(self, asked: Turn, answer: str) -> None:
        """Remember a question with its answer, and forget what there is no room for."""
        turns = self.turns
        turns += (asked, Turn(Speaker.ROBOT, answer))
        self._size += _size(turns[-2:])
        while len(turns) > self._limits.turns or self._size > self._limits.bytes:
            self._size -= _size(turns[:2])
            del turns[:2]

    def clear(self) -> None:
        self.turns.clear()
        self._size = 0


def _size(turns: list[Turn]) -> int:
    return sum(len(turn.text.encode(errors="replace")) for turn in turns)
