"""Messages on standard error, each on one line. Standard output is for replies only."""

import sys
from contextlib import suppress

from securechat.client.sanitize import sanitize_line
from securechat.i18n import _


def note(text: str) -> None:
    """Write a message."""
    if sys.stderr is not None:  # print would take standard output instead
        with suppress(OSError, ValueError):  # standard error is closed
            print(sanitize_line(text), file=sys.stderr, flush=True)


def drop(text: str) -> None:
    """Write nothing: in place of `note` for what the user does not want to see."""


def complain(text: str) -> None:
    """Write an error message."""
    note(_("securechat: {problem}").format(problem=text))
