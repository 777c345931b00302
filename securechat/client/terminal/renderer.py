"""Drawing the prompt below rows that are printed once."""

import os
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TextIO

from prompt_toolkit.application import Application
from prompt_toolkit.layout import Layout
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import Renderer
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from securechat.client.terminal.styles import width

SETTLE: Final = 0.4  # seconds without a change of the width, after which the live row is displayed again
MAX_WAITING: Final = 4 * 1024 * 1024  # characters that wait while another program has the terminal


class TerminalOutput(Vt100_Output):
    """Writes each frame at once, which avoids flicker."""

    is_held = False

    @classmethod
    def open(cls, stdout: TextIO, environ: Mapping[str, str]) -> "TerminalOutput":
        """The output to a terminal. The cursor position is not requested: some terminals do not report it."""
        sized = Vt100_Output.from_pty(stdout)
        return cls(stdout, sized.get_size, term=environ.get("TERM"), enable_cpr=False)

    def flush(self) -> None:
        if not self.is_held:
            super().flush()


class AppendingRenderer(Renderer):
    """Prints rows above the prompt when it is drawn next. The prompt is erased before, and drawn again below them."""

    def __init__(self, output: TerminalOutput, *, reflows: bool) -> None:
        """`reflows` if the terminal rewraps long rows when its width changes."""
        self._terminal = output
        self._reflows = reflows
        self._above: deque[str] = deque()
        self._size = 0  # characters of it
        self._resized = -SETTLE  # when the width last changed
        self._drawn: tuple[Layout, int] | None = None  # the prompt, and the columns of the screen
        super().__init__(Style([]), output)

    @property
    def is_settled(self) -> bool:
        """Whether the last resize is over. During one, the line breaks of a long row cannot be predicted."""
        return time.monotonic() - self._resized >= SETTLE

    def add(self, text: str) -> None:
        """Print lines, which end in newlines, when the prompt is drawn next; the oldest are dropped if that is late."""
        self._above.append(text)
        self._size += len(text)
        while self._size > MAX_WAITING:
            self._size -= len(self._above.popleft())

    def render(self, app: Application[Any], layout: Layout, is_done: bool = False) -> None:
        self._terminal.is_held = True
        try:
            is_resized = self._drawn is not None and self._drawn[1] != self.output.get_size().columns
            if is_resized:
                self._resized = time.monotonic()
            is_afresh = bool(self._above) or is_resized or self._is_odd()
            if is_afresh:
                self.erase()
                self.print_waiting()
            super().render(app, layout, is_done)
            if self._is_odd():
                if not is_afresh:
                    self.erase()
                    super().render(app, layout, is_done)
                self._place_cursor(layout)
        finally:
            self._terminal.is_held = False
            self._terminal.flush()
        self._drawn = layout, self.output.get_size().columns

    def _is_odd(self) -> bool:
        """Whether a row of the prompt has another width than the sum of its characters, for instance with flags.

        prompt_toolkit adds their widths, so that it would draw changes in wrong columns.
        """
        screen = self.last_rendered_screen
        if screen is None:
            return False
        texts = ("".join(row[column].char for column in sorted(row)) for row in screen.data_buffer.values())
        return any(not text.isascii() and width(text) != sum(map(get_cwidth, text)) for text in texts)

    def _place_cursor(self, layout: Layout) -> None:
        """Move the cursor to the column that it has on the terminal."""
        screen = self.last_rendered_screen
        assert screen is not None
        cursor = screen.get_cursor_position(layout.current_window)
        row = screen.data_buffer[cursor.y]
        self.output.write_raw("\r")
        self.output.cursor_forward(width("".join(row[column].char for column in range(cursor.x))))

    def print_waiting(self) -> None:
        """Print the lines that wait. There must be no prompt."""
        self.output.write_raw("".join(self._above))
        self._above.clear()
        self._size = 0
        self.output.flush()

    def erase(self, leave_alternate_screen: bool = True) -> None:
        self.output.write_raw("\r")  # the cursor may be in another column than prompt_toolkit assumes
        self.output.cursor_up(self._rows_added())
        super().erase(leave_alternate_screen)
        self._drawn = None

    def _rows_added(self) -> int:
        """How many rows above the cursor the terminal has added, because its width has become smaller."""
        columns = self.output.get_size().columns
        screen = self.last_rendered_screen
        if screen is None or self._drawn is None or not self._reflows or columns >= self._drawn[1]:
            return 0
        cursor = screen.get_cursor_position(self._drawn[0].current_window)
        added = 0
        for number in range(cursor.y + 1):
            row = screen.data_buffer[number]
            end = cursor.x if number == cursor.y else max(row, default=-1) + 1
            text = "".join(row[column].char for column in range(end))
            added += _breaks(text if number == cursor.y else text.rstrip(), columns)
        return added


def _breaks(text: str, columns: int) -> int:
    """How often a terminal breaks a row. A wide character is not divided."""
    breaks = used = 0
    for letter in text:
        size = get_cwidth(letter)
        if used + size > columns:
            breaks += 1
            used = 0
        used += size
    return breaks


def reflows(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal rewraps long rows when its width changes, as all but the oldest do."""
    return not ("XTERM_VERSION" in environ or environ.get("TERM", "").startswith(("linux", "rxvt", "vt")))
