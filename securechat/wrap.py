"""Line breaking for help texts, by the columns of a terminal: a Chinese character has two, and no spaces around it."""

import re
from typing import Final
from unicodedata import east_asian_width

# Where a line may end: after a space, a wide character, or a word before one, but not between it and its punctuation.
_WIDE: Final = r"\u2e80-\uffef"
_PIECE: Final = (  # compiled when it is used: that takes 3 ms, which programs that print no help need not spend
    rf"\s+|[（“]*(?:[{_WIDE}]|[^\s（“{_WIDE}]+)[，。；：、？！）”]*|[（“]"
)


def columns(text: str) -> int:
    """The width of a line on a terminal."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def wrap(text: str, width: int) -> list[str]:
    """The lines of a paragraph, none wider than `width` columns unless a single word is."""
    lines = [""]
    for piece in re.findall(_PIECE, text):
        if lines[-1] and columns(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        if lines[-1] or not piece.isspace():
            lines[-1] += piece
    return [line.rstrip() for line in lines]
