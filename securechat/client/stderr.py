"""What the program says of itself: short lines on standard error. Standard output is for replies alone."""

import sys
from contextlib import suppress

from securechat.client.sanitize import sanitize_line
from securechat.i18n import _


def note(text: str) -> None:
    """Say something, if anybody listens."""
    with suppress(OSError, ValueError):  # standard error was closed
        print(sanitize_line(text), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Say what is wrong, on one line."""
    note(_("securechat: {problem}").format(problem=text))
