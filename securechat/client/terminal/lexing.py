"""Lexing code line by line with Pygments. Loading this module loads Pygments, so it is imported when there is code.

A line is displayed when it is complete, and not again. So it is lexed with what precedes it alone, and the lexer goes
on from its state at the end of the line before: the time for a line does not grow with the block.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer
from pygments.lexers import find_lexer_class_by_name
from pygments.token import Comment, Generic, Keyword, Literal, Name, Operator
from pygments.util import ClassNotFound

from securechat.client.terminal.styles import Row, Style, join

MAX_OPEN: Final = 8 * 1024  # characters of an open comment, which are lexed again with each line
MAX_DEPTH: Final = 100  # nested states of a lexer

# Many lexers match a whole comment with one pattern, which fails while the comment is open. This text closes it, and
# code within HTML.
_CLOSING: Final = "*/-->]]</script></style>"

STYLES: Final = (  # the first that contains a token's type
    (Comment.Preproc, Style.KEYWORD),
    (Comment, Style.DIM),
    (Keyword.Constant, Style.LITERAL),
    (Keyword, Style.KEYWORD),
    (Operator.Word, Style.KEYWORD),
    (Literal, Style.LITERAL),
    (Name.Tag, Style.KEYWORD),
    (Name.Function, Style.BOLD),
    (Name.Class, Style.BOLD),
    (Name.Decorator, Style.BOLD),
    (Generic.Heading, Style.BOLD),
    (Generic.Subheading, Style.BOLD),
    (Generic.Inserted, Style.LITERAL),
    (Generic.Deleted, Style.DIM),
    (Generic.Prompt, Style.DIM),
)


class LexingError(Exception):
    """The code exceeds a limit."""


def make_lexer(language: str) -> "LineLexer | None":
    """A lexer for a language, if this version of Pygments knows it."""
    try:
        return LineLexer(find_lexer_class_by_name(language)())
    except ClassNotFound:
        return None


class LineLexer:
    """The lexer of one block of code."""

    def __init__(self, lexer: Any) -> None:
        self._lexer = lexer
        self._keeps_state = isinstance(self._lexer, RegexLexer) and not isinstance(self._lexer, ExtendedRegexLexer)
        self._stack = ["root"]  # the state after the last line
        self.pending = ""  # what precedes the next line and is lexed with it

    def feed(self, line: str) -> Row:
        """The spans of a line, whose text together is the line. A lexer may raise anything."""
        source = f"{self.pending}{line}\n"
        at = len(self.pending)
        row: Row = []
        for start, kind, text in self._tokens(source):
            if start > at:
                join(row, (Style.PLAIN, source[at:start]))
                at = start
            end = start + len(text)
            if end > at:
                join(row, (_style(kind), source[at:end]))
                at = end
        join(row, (Style.PLAIN, source[at:]))
        return _without_newline(row)

    def _tokens(self, source: str) -> Iterator[tuple[int, Any, str]]:
        """The tokens that begin in the source, each with its place."""
        if not self._keeps_state:
            yield from self._lexer.get_tokens_unprocessed(source)
            return
        context = LexerContext(source + _CLOSING, 0, [*self._stack])
        self.pending = ""
        # A RegexLexer lexes in the same way, but without a context from which its state can be read.
        for start, kind, text in ExtendedRegexLexer.get_tokens_unprocessed(self._lexer, context=context):
            if start >= len(source):
                break
            if start + len(text) > len(source):
                self.pending = source[context.pos :]
                yield start, kind, text
                break
            yield start, kind, text
        self._stack = context.stack
        if len(self.pending) > MAX_OPEN or len(self._stack) > MAX_DEPTH:
            raise LexingError


def _without_newline(row: Row) -> Row:
    style, text = row[-1]
    return [*row[:-1], (style, text[:-1])] if len(text) > 1 else row[:-1]


@lru_cache
def _style(kind: Any) -> Style:
    return next((style for parent, style in STYLES if kind in parent), Style.PLAIN)
