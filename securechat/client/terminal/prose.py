"""Lines of prose, broken at words into rows with a hanging indent."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from securechat.client.terminal.styles import Row, Span, Style, join, plain, width

TAB: Final = 8  # columns from one tab stop of a terminal to the next
MAX_WORD: Final = 2000  # characters, after which a word is broken

_PIECES: Final = re.compile("[ \t]+|[!-~\u00a0-\u10ff]+|[^ \t!-~\u00a0-\u10ff]")  # spaces; narrow letters; any other
_NO_START: Final = frozenset(
    "，。、；：？！）》〉」』】〕〗”’…—～·,.;:!?)]}%、ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々"
)
_NO_END: Final = frozenset("（《〈「『【〔〖“‘([{￥$")


def _may_break(before: str, after: str) -> bool:
    """Whether a row may end between two characters that are not spaces: around wide ones, but not at punctuation."""
    if before in _NO_END or after in _NO_START:
        return False
    return width(before) > 1 or width(after) > 1


class Prose:
    """One line of source text as rows of at most `columns`. A word that is wider has a row of its own, unbroken."""

    def __init__(self, first: Row, rest: Row) -> None:
        """`first` is put before the first row, `rest` before the others."""
        self._rest = rest
        self._prefix = first
        self._row: Row = []  # without its prefix
        self._used = 0  # columns of it
        self._spaces: Span = (Style.PLAIN, "")  # between the row and the word
        self._word: Row = []
        self._size = 0  # columns of it
        self._length = 0  # characters of it

    def feed(self, spans: Iterable[Span], columns: int) -> Iterator[Row]:
        """Add text, and iterate over the rows that it completes."""
        for style, text in spans:
            for piece in _PIECES.findall(text):
                if piece[0] in " \t":
                    self._end_word()
                    self._spaces = (style, self._spaces[1] + piece.replace("\t", "    "))
                    continue
                if self._word and _may_break(self._word[-1][1][-1], piece[0]):
                    self._end_word()
                while piece:
                    part = piece[: MAX_WORD - self._length]
                    piece = piece[len(part) :]
                    join(self._word, (style, part))
                    self._length += len(part)
                    self._size = width(plain(self._word))
                    if self._row and self._left(columns) < self._size:
                        yield self._end_row()
                    if self._length == MAX_WORD:
                        self._end_word()

    def end(self) -> Row:
        """The last row."""
        self._end_word()
        return self._end_row()

    @property
    def unfinished(self) -> Row:
        """The row so far."""
        return [*self._prefix, *self._row, self._spaces, *self._word]

    def _left(self, columns: int) -> int:
        """The columns for a word."""
        return columns - width(plain(self._prefix)) - self._used - len(self._spaces[1])

    def _end_word(self) -> None:
        if not self._word:
            return
        for span in (self._spaces, *self._word):
            join(self._row, span)
        self._used += len(self._spaces[1]) + self._size
        self._word, self._size, self._length = [], 0, 0
        self._spaces = (Style.PLAIN, "")

    def _end_row(self) -> Row:
        row = [*self._prefix, *self._row]
        self._prefix, self._row, self._used = self._rest, [], 0
        self._spaces = (Style.PLAIN, "")
        return row


def wrap(first: Row, spans: Iterable[Span], columns: int) -> list[Row]:
    """Text in rows, after the prefix of the first one, with which the others are aligned."""
    prose = Prose(first, [(Style.PLAIN, " " * width(plain(first)))])
    return [*prose.feed(spans, columns), prose.end()]


def indent_imitations(text: str, letters: str, columns: int) -> str:
    """One line without styles, indented by a space wherever a row of the terminal would begin with one of `letters`.

    The terminal breaks the line after `columns`.
    """
    shown: list[str] = []
    used = 0  # columns of the row
    for letter in text:
        size = width(letter)
        if letter == "\t":
            size = max(0, min(TAB - used % TAB, columns - 1 - used))  # a tab does not leave the row
        elif used + size > columns:
            used = 0
        if used == 0 and letter in letters:
            shown.append(" ")
            used = 1
        shown.append(letter)
        used += size
    return "".join(shown)
