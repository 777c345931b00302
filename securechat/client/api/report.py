"""What the user sees of the requests: one line for each, or on a terminal one line for all. Never their content."""

import os
import sys
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.client.sanitize import sanitize_line
from securechat.client.stderr import complain, note
from securechat.i18n import _
from securechat.wrap import columns

MAX_PATH: Final = 100  # characters in a log line
REDRAW: Final = 0.2  # seconds between two versions of the status line
_ERASE: Final = "\r\x1b[K"  # the line that the cursor is on


class Style(Enum):
    """What is shown of requests."""

    NOTHING = auto()
    LINES = auto()
    STATUS = auto()


class Record:
    """One request that is running."""

    def __init__(self, report: "Report", method: str, path: str, now: float) -> None:
        self._report = report
        self._method = method
        self._path = path
        self._began = now
        self._events = 0

    @property
    def events(self) -> int:
        return self._events

    @events.setter
    def events(self, events: int) -> None:
        self._report.events_received(events - self._events)
        self._events = events

    def ended(self, status: int, outcome: str) -> None:
        self._report.call_ended(self._line(status, outcome))

    def _line(self, status: int, outcome: str) -> Callable[[float], str]:
        return lambda now: _("{time} {method} {path} {status} {outcome} {seconds} s, {events} events").format(
            time=time.strftime("%Y-%m-%d %H:%M:%S"),
            method=self._method,
            path=self._path[:MAX_PATH],
            status=status or "-",
            outcome=outcome or "ok",
            seconds=f"{now - self._began:.1f}",
            events=self._events,
        )


class Report:
    """The `CallLog` of the program. It writes to standard error, as do `note` and `complain`."""

    def __init__(self, style: Style, clock: IReactorTime, sessions: Callable[[], str]) -> None:
        """`sessions` describes the number of sessions, for the status line."""
        self._style = style
        self._clock = clock
        self._sessions = sessions
        self._running = 0
        self._done = 0
        self._events = 0
        self._is_drawn = False
        self._is_held = False  # whether standard error is not read fast enough
        self._redraw: IDelayedCall | None = None

    def began(self, method: str, path: str) -> Record:
        self._running += 1
        self._changed()
        return Record(self, method, path, self._clock.seconds())

    def events_received(self, events: int) -> None:
        """A running request has received so many more events of its response."""
        self._events += events
        self._changed()

    def call_ended(self, line: Callable[[float], str]) -> None:
        """A request has ended; `line` describes it at this time."""
        self._running -= 1
        self._done += 1
        if self._style is Style.LINES and not self._is_held:
            note(line(self._clock.seconds()))
        self._changed()

    def hold(self, hold: bool) -> None:
        """Write nothing of requests while `hold` is true: their number has no bound."""
        self._is_held = hold

    def note(self, text: str) -> None:
        """Write a message, above the status line if there is one."""
        self._erase()
        note(text)
        self._changed()

    def complain(self, text: str) -> None:
        """Write an error message, likewise."""
        self._erase()
        complain(text)
        self._changed()

    def close(self) -> None:
        """Remove the status line, and draw it no more."""
        self._style = Style.NOTHING
        if self._redraw is not None:
            self._redraw.cancel()
            self._redraw = None
        self._erase()

    # The status line

    def _changed(self) -> None:
        if self._style is Style.STATUS and self._redraw is None:
            self._redraw = self._clock.callLater(REDRAW, self._draw)

    def _draw(self) -> None:
        self._redraw = None
        if self._is_held:
            return
        text = sanitize_line(
            _("requests: {running} running, {done} done; sessions: {sessions}; events: {events}").format(
                running=self._running, done=self._done, sessions=self._sessions(), events=self._events
            )
        )
        width = _terminal_width()
        while text and columns(text) >= width:
            text = text[:-1]
        self._is_drawn = True
        self._write(_ERASE + text)

    def _erase(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80
