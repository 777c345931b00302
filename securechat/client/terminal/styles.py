"""Styled text: rows of spans, and the escape sequences (SGR) that a terminal gets for them."""

from bisect import bisect_right
from collections.abc import Iterable
from enum import Flag, auto
from functools import lru_cache
from typing import Final

from wcwidth import wcswidth

from securechat.client.sanitize import MAX_MARKS, Sanitizer


class Style(Flag):
    """How text looks. The last four belong to the client: a robot's text never has them."""

    PLAIN = 0
    BOLD = auto()
    DIM = auto()
    UNDERLINE = auto()
    CODE = auto()
    LINK = auto()
    KEYWORD = auto()
    LITERAL = auto()
    USER = auto()
    ROBOT = auto()
    NOTICE = auto()
    ERROR = auto()


Span = tuple[Style, str]
Row = list[Span]

_LOOKS: Final = {  # the SGR parameter, and prompt_toolkit's name
    Style.BOLD: ("1", "bold"),
    Style.DIM: ("2", "dim"),
    Style.UNDERLINE: ("4", "underline"),
    Style.CODE: ("36", "ansicyan"),
    Style.LINK: ("34", "ansiblue"),
    Style.KEYWORD: ("1;34", "bold ansiblue"),
    Style.LITERAL: ("36", "ansicyan"),
    Style.USER: ("1;32", "bold ansigreen"),
    Style.ROBOT: ("1;35", "bold ansimagenta"),
    Style.NOTICE: ("33", "ansiyellow"),
    Style.ERROR: ("31", "ansired"),
}


@lru_cache
def _sgr(style: Style) -> str:
    return ";".join(_LOOKS[part][0] for part in style)


@lru_cache
def toolkit_style(style: Style) -> str:
    """The style in prompt_toolkit's words."""
    return " ".join(_LOOKS[part][1] for part in style)


def render(row: Iterable[Span], *, styled: bool) -> str:
    """The row as a terminal gets it. Whatever its text is, the only escape sequences are those of the styles."""
    return "".join(
        f"\x1b[{_sgr(style)}m{text}\x1b[0m" if styled and style else text for style, text in _clean(row)
    ).replace("\n", " ")


def _clean(row: Iterable[Span]) -> Row:
    """The row through the filter. Marks pile up across spans as well."""
    sanitizer = Sanitizer()
    cleaned: Row = []
    for style, text in row:
        join(cleaned, (style, sanitizer.feed(text)))
    return cleaned


def join(row: Row, span: Span) -> None:
    """Add a span to a row, to its last one if they look the same."""
    if row and row[-1][0] == span[0]:
        row[-1] = (span[0], row[-1][1] + span[1])
    elif span[1]:
        row.append(span)


def plain(row: Iterable[Span]) -> str:
    """The text of a row."""
    return "".join(text for _style, text in row)


@lru_cache(maxsize=4096)
def width(text: str) -> int:
    """The columns of a text without control characters."""
    return len(text) if text.isascii() else max(0, wcswidth(text))


def cut(row: Iterable[Span], columns: int) -> Row:
    """The row through the filter, without what does not fit into so many columns; tabs become spaces."""
    kept: Row = []
    left = columns
    for style, text in _clean(row):
        text = text.replace("\t", "    ")
        text = text[: (MAX_MARKS + 2) * (left + 1)]  # enough to fill the rest, however many marks it has
        if width(text) > left:
            widths = [width(text[:end]) for end in range(1, len(text) + 1)]
            kept.append((style, text[: bisect_right(widths, left)]))
            break
        kept.append((style, text))
        left -= width(text)
    return kept
