"""What a model thinks before it answers, taken out of what it says: ``<think>…</think>`` at a reply's beginning."""

from enum import Enum, auto
from typing import Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


class _State(Enum):
    BEGINNING = auto()  # nothing yet that is not the start of OPEN
    THINKING = auto()
    AFTERWARDS = auto()  # nothing of the answer yet
    ANSWERING = auto()


class Thoughts:
    """A filter for text that comes in pieces, cut anywhere."""

    def __init__(self) -> None:
        self._state = _State.BEGINNING
        self._held = ""  # what may be part of a tag

    def feed(self, text: str) -> str:
        """More of the reply; what of it is no thought."""
        if self._state is _State.ANSWERING:
            return text
        self._held += text
        if self._state is _State.BEGINNING:
            start = self._held.lstrip()
            if not start.startswith(OPEN):
                return "" if OPEN.startswith(start) else self._answer(self._held)
            self._state, self._held = _State.THINKING, start[len(OPEN) :]
        if self._state is _State.THINKING:
            _thought, closed, rest = self._held.partition(CLOSE)
            if not closed:
                self._held = self._held[1 - len(CLOSE) :]
                return ""
            self._state, self._held = _State.AFTERWARDS, rest
        rest = self._held.lstrip()
        return self._answer(rest) if rest else ""

    def end(self) -> str:
        """What was held back and turned out to be no tag."""
        return self._answer(self._held) if self._state is _State.BEGINNING else ""

    def _answer(self, text: str) -> str:
        self._state, self._held = _State.ANSWERING, ""
        return text
