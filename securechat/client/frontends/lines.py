"""Text that arrives in pieces, broken into the lines of a screen."""

from collections.abc import Callable, Iterator
from typing import Final

MAX_LETTERS: Final = 8  # characters per column: text without width, such as combining marks, ends a line as well


class Lines:
    """Breaks text into lines that are narrower than the screen. Each character is measured once."""

    __slots__ = ("_letters", "_measure", "_width")

    def __init__(self, measure: Callable[[str], int]) -> None:
        """`measure` returns the width of a character, in columns."""
        self._measure = measure
        self._letters: list[str] = []  # of the unfinished line
        self._width = 0

    def feed(self, text: str, columns: int) -> Iterator[str]:
        """Add text, and iterate over the lines that it completes."""
        for letter in text:
            if letter == "\n":
                yield self.end()
                continue
            width = self._measure(letter)
            if self._letters and (self._width + width >= columns or len(self._letters) >= MAX_LETTERS * columns):
                yield self.end()
            self._letters.append(letter)
            self._width += width

    @property
    def unfinished(self) -> str:
        """The unfinished line."""
        return "".join(self._letters)

    def end(self) -> str:
        """End the unfinished line, and return it."""
        line = self.unfinished
        self._letters.clear()
        self._width = 0
        return line
