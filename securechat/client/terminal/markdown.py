"""Markdown that arrives in pieces, as rows for a screen.

It goes line by line, as chat robots write it: a line is a paragraph, an item, a heading, a row of a table, or code. A
row that was returned never changes, and the rows do not depend on how the text was divided. Nothing but a table waits
longer than a line.
"""

import re
from collections.abc import Iterator
from typing import Final

from securechat.client.sanitize import Sanitizer
from securechat.client.terminal import tables
from securechat.client.terminal.code import CodeStyler
from securechat.client.terminal.inline import parse
from securechat.client.terminal.prose import Prose
from securechat.client.terminal.styles import Row, Style

MAX_PROSE: Final = 100  # columns; longer rows are hard to read
MAX_INDENT: Final = 24  # columns of indentation that are kept
MAX_LINE: Final = 64 * 1024  # characters of a line of code or of a table; it is broken after that
MAX_TABLE: Final = 1000  # lines of a table, and
MAX_TABLE_SIZE: Final = 256 * 1024  # characters of it; it is displayed in parts after that
MAX_UNDECIDED: Final = 200  # characters that may be any kind of line; then it is a paragraph

_UNDECIDED: Final = re.compile(r"(?:[#>*+\-_=~`|.) \t]|[0-9](?![^0-9.) \t]))*")
_FENCE: Final = re.compile(r"( *)(`{3,}|~{3,})([^`]*)")
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+")
_RULE: Final = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})")
_QUOTE: Final = re.compile(r" {0,3}((?:>[ \t]?)+)")
_ITEM: Final = re.compile(r"([ \t]*)(?:([-*+])|(\d{1,9}[.)]))[ \t]+")
_SPACES: Final = re.compile(r"[ \t]*")
_INDENTED: Final = re.compile(r"(?: {4}|\t)")
_RULE_WIDTH: Final = 24  # columns


class Styler:
    """Turns the pieces of one reply into rows."""

    def __init__(self, *, keep_marks: bool = False) -> None:
        """`keep_marks` is for a screen without styles: the marks of Markdown stay in the text."""
        self._keep_marks = keep_marks
        self._sanitizer = Sanitizer()
        self._line = ""  # of the source, as long as its kind is not known, or if it is displayed as a whole
        self._prose: Prose | None = None  # of the present line, if it is displayed word by word
        self._style = Style.PLAIN  # of that line
        self._source = ""  # of that line: what may be the start of an element
        self._before = ""  # the character before
        self._fence: tuple[str, int] | None = None  # the mark that ends the code, and the indentation of its lines
        self._code = CodeStyler()
        self._table: list[str] = []
        self._blank = 0  # lines, which are displayed if something follows
        self._has_begun = False
        self._in_list = False

    def feed(self, text: str, columns: int) -> list[Row]:
        """The rows that are complete, for a screen of so many columns."""
        return [*self._feed(self._sanitizer.feed(text), columns)]

    def end(self, columns: int) -> list[Row]:
        """The remaining rows."""
        rows = [*self._end_line(columns)] if self._line or self._prose is not None else []
        return [*rows, *self._end_table(columns)]

    @property
    def unfinished(self) -> Row:
        """The row so far. It may look different when it is complete."""
        if self._prose is not None:
            return [*self._prose.unfinished, (self._style, self._source)]
        return [(Style.PLAIN, self._line)] if self._line else []

    def _feed(self, text: str, columns: int) -> Iterator[Row]:
        first, *others = text.split("\n")
        yield from self._add(first, columns)
        for line in others:
            yield from self._end_line(columns)
            yield from self._add(line, columns)

    def _add(self, text: str, columns: int) -> Iterator[Row]:
        """Add to the present line."""
        if self._prose is not None:
            self._source += text
            yield from self._flow(self._prose, columns, final=False)
            return
        self._line += text
        while True:
            if self._line and self._fence is None and not self._is_undecided():
                yield from self._begin(columns)
                return
            if len(self._line) < MAX_LINE:
                return
            rest, self._line = self._line[MAX_LINE:], self._line[:MAX_LINE]
            yield from self._end_line(columns)
            self._line = rest

    def _is_undecided(self) -> bool:
        """Whether the kind of the line depends on what follows, or it is displayed as a whole."""
        start = self._line.lstrip(" ")
        if start.startswith("|") or self._is_code(self._line):
            return True
        if start.startswith(("```", "~~~")) and _FENCE.fullmatch(self._line):
            return True
        return len(self._line) < MAX_UNDECIDED and _UNDECIDED.fullmatch(self._line) is not None

    def _begin(self, columns: int) -> Iterator[Row]:
        """Begin a line that is displayed word by word."""
        yield from self._end_table(columns)
        yield from self._break()
        line, self._line = self._line, ""
        start = line[:MAX_UNDECIDED]
        style = Style.PLAIN
        first: Row = []
        rest: Row = []
        if found := _HEADING.match(start):
            style = Style.BOLD
            first = [(style, found[0])] if self._keep_marks else []
        elif found := _QUOTE.match(start):
            style = Style.DIM
            first = rest = [(style, ("| " if self._keep_marks else "│ ") * found[1].count(">"))]
        elif found := _ITEM.match(start):
            self._in_list = True
            mark = found[3] or (found[2] if self._keep_marks else "•")
            first = [(style, f"{_indent(found[1])}{mark} ")]
            rest = [(style, " " * len(first[0][1]))]
        else:
            found = _SPACES.match(start)
            assert found is not None
            if found[0]:
                first = rest = [(style, _indent(found[0]))]
            else:
                self._in_list = False
        self._prose = Prose(first, rest)
        self._style = style
        self._source, self._before = line[found.end() :], ""
        yield from self._flow(self._prose, columns, final=False)

    def _flow(self, prose: Prose, columns: int, *, final: bool) -> Iterator[Row]:
        if self._keep_marks:
            spans, length = [(self._style, self._source)], len(self._source)
        else:
            spans, length = parse(self._source, final=final, before=self._before, style=self._style)
        if length:
            self._before = self._source[length - 1]
            self._source = self._source[length:]
        yield from prose.feed(spans, min(columns, MAX_PROSE))

    def _end_line(self, columns: int) -> Iterator[Row]:
        line, self._line = self._line, ""
        if self._prose is not None:
            yield from self._end_prose(self._prose, columns)
        elif self._fence is not None:
            yield from self._end_code_line(line)
        elif line.lstrip(" ").startswith("|"):
            self._table.append(line)
            if len(self._table) >= MAX_TABLE or sum(map(len, self._table)) >= MAX_TABLE_SIZE:
                yield from self._end_table(columns)
        elif not line.strip():
            yield from self._end_table(columns)
            self._blank += self._has_begun
        else:
            yield from self._end_other(line, columns)

    def _end_other(self, line: str, columns: int) -> Iterator[Row]:
        """End a line whose kind is known only now."""
        yield from self._end_table(columns)
        if found := _FENCE.fullmatch(line):
            yield from self._break()
            self._fence = found[2], len(found[1])
            if not self._keep_marks:
                self._code.begin(found[3])
            yield [(Style.DIM, found[2] + found[3].rstrip())]
        elif _RULE.fullmatch(line) and not self._keep_marks:
            yield from self._break()
            yield [(Style.DIM, "─" * min(_RULE_WIDTH, columns))]
        elif self._is_code(line):
            yield from self._break()
            yield [(Style.PLAIN, line)]
        else:
            self._line = line
            yield from self._begin(columns)
            if self._prose is not None:
                yield from self._end_prose(self._prose, columns)

    def _end_prose(self, prose: Prose, columns: int) -> Iterator[Row]:
        yield from self._flow(prose, columns, final=True)
        self._prose = None
        self._source = ""
        yield prose.end()

    def _end_code_line(self, line: str) -> Iterator[Row]:
        assert self._fence is not None
        mark, indent = self._fence
        stripped = line.strip()
        if len(stripped) >= len(mark) and stripped == mark[0] * len(stripped):
            self._fence = None
            yield from self._break()
            yield [(Style.DIM, stripped)]
            return
        own = len(line) - len(line.lstrip(" "))
        row = self._code.feed(line[min(indent, own) :])
        if not line.strip():
            self._blank += 1
            return
        yield from self._break()
        yield row

    def _is_code(self, line: str) -> bool:
        """Whether the line is code by its indentation."""
        return not self._in_list and _INDENTED.match(line) is not None

    def _end_table(self, columns: int) -> Iterator[Row]:
        lines, self._table = self._table, []
        if not lines:
            return
        yield from self._break()
        if tables.is_table(lines):
            yield from tables.layout(lines, columns, keep_marks=self._keep_marks)
            return
        for line in lines:
            prose = Prose([], [])
            yield from prose.feed([(Style.PLAIN, line)], min(columns, MAX_PROSE))
            yield prose.end()

    def _break(self) -> Iterator[Row]:
        """The blank lines before a line that is displayed."""
        for _line in range(self._blank):
            yield []
        self._blank = 0
        self._has_begun = True


def _indent(spaces: str) -> str:
    return spaces.replace("\t", "    ")[:MAX_INDENT]
