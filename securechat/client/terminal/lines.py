"""The client's own lines above the prompt: notices, errors, and the echo of what the user has entered."""

from typing import Final

from securechat.client.sanitize import sanitize, sanitize_line
from securechat.client.terminal.prose import wrap
from securechat.client.terminal.screen import PROMPT, Screen
from securechat.client.terminal.styles import Row, Style, cut, plain

NOTICE: Final = "-- "  # begins the client's own lines, as PROMPT begins the user's; no line of a robot begins so


def notice_row(text: str) -> Row:
    """A notice that fits on one row."""
    return [(Style.NOTICE, f"{NOTICE}{text}")]


def show_notice(screen: Screen, text: str, style: Style = Style.NOTICE) -> None:
    """Print a notice. It takes as many rows as it needs."""
    screen.show(wrap([(style, NOTICE)], [(style, sanitize_line(text))], screen.columns))


def show_error(screen: Screen, text: str) -> None:
    """Print a notice that something has failed."""
    show_notice(screen, text, Style.ERROR)


def show_input(screen: Screen, text: str) -> None:
    """Print what the user has entered, as it looked in the editor."""
    first, *others = sanitize(text).split("\n")
    rows: list[Row] = [[(Style.USER, PROMPT), (Style.BOLD, first)]]
    rows += [[(Style.PLAIN, " " * len(PROMPT)), (Style.BOLD, line)] for line in others]
    screen.show(rows)


def shorten(text: str, columns: int) -> str:
    """As much of a text from outside as fits into one line of so many columns."""
    return plain(cut([(Style.PLAIN, sanitize_line(text))], columns))
