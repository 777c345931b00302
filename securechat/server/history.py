"""The history of a conversation: the latest turns that were answered completely, or that the client recalled."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from securechat.conversation import Speaker, Turn


class _Part(NamedTuple):
    """Turns that are dropped together: a message with its reply, or one turn that was recalled."""

    turns: int
    size: int  # bytes of their text
    is_recalled: bool


class History:
    """One session's messages and replies, oldest first. The oldest are dropped first."""

    __slots__ = ("_forget", "_max_bytes", "_max_turns", "_parts", "size", "turns")

    def __init__(self, max_turns: int, max_bytes: int, forget: Callable[[int], None]) -> None:
        """A message and its reply are two turns; `max_bytes` counts their text in UTF-8.

        `forget` is called with the size of recalled turns that are dropped.
        """
        self.turns: list[Turn] = []
        self._max_turns = max_turns
        self._max_bytes = max_bytes
        self._forget = forget
        self._parts: list[_Part] = []  # a deque takes 760 bytes even if it is empty
        self.size = 0  # bytes of the turns' text

    def add(self, asked: Turn, answer: str) -> None:
        """Append a message and its reply, and drop the oldest turns that exceed a limit."""
        self.turns += (asked, Turn(Speaker.ROBOT, answer))
        self._append(_Part(2, size_of(asked.text) + size_of(answer), is_recalled=False))
        self._drop(self._max_turns, self._max_bytes)

    def replace(self, turns: Sequence[Turn]) -> None:
        """Remember recalled turns instead, without the oldest that exceed a limit."""
        self.clear()
        self.turns += turns
        for turn in turns:
            self._append(_Part(1, size_of(turn.text), is_recalled=True))
        self._drop(self._max_turns, self._max_bytes)

    def clear(self) -> None:
        self._drop(0, 0)

    def _append(self, part: _Part) -> None:
        self._parts.append(part)
        self.size += part.size

    def _drop(self, max_turns: int, max_bytes: int) -> None:
        """Drop the oldest turns until the others are within these limits."""
        left, dropped, forgotten = len(self.turns), 0, 0
        while dropped < len(self._parts) and (left > max_turns or self.size > max_bytes):
            part = self._parts[dropped]
            dropped += 1
            left -= part.turns
            self.size -= part.size
            if part.is_recalled:
                forgotten += part.size
        del self._parts[:dropped]
        del self.turns[: len(self.turns) - left]
        if forgotten:
            self._forget(forgotten)


def size_of(text: str) -> int:
    """The number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
