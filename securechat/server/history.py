"""The history of a conversation: the latest turns that were answered completely."""

from securechat.conversation import Speaker, Turn


class History:
    """One session's messages and replies, oldest first. The oldest are dropped first."""

    __slots__ = ("_max_bytes", "_max_turns", "_size", "_sizes", "turns")

    def __init__(self, max_turns: int, max_bytes: int) -> None:
        """A message and its reply are two turns; `max_bytes` counts their text in UTF-8."""
        self.turns: list[Turn] = []
        self._max_turns = max_turns
        self._max_bytes = max_bytes
        self._sizes: list[int] = []  # of each message with its reply
        self._size = 0

    def add(self, asked: Turn, answer: str) -> None:
        """Append a message and its reply, and drop the oldest pairs that exceed a limit."""
        size = _size(asked.text) + _size(answer)
        self.turns += (asked, Turn(Speaker.ROBOT, answer))
        self._sizes.append(size)
        self._size += size
        while len(self.turns) > self._max_turns or self._size > self._max_bytes:
            self._size -= self._sizes.pop(0)
            del self.turns[:2]

    def clear(self) -> None:
        self.turns.clear()
        self._sizes.clear()
        self._size = 0


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
