"""The log of the daemon: a file, or standard output.

The file may be moved away at any time, as logrotate does: within a second, or at SIGUSR1, a new one is opened. A file
that has become too large is renamed. On a full disk, lines are lost, and nothing else.
"""

import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from securechat.errors import ConfigurationError
from securechat.i18n import _

log = Logger()

MAX_SIZE: Final = 10_000_000  # bytes; then the file is renamed to NAME.1, and that to NAME.2 …
MAX_FILES: Final = 10  # with those that were renamed; the oldest is removed
LOOK_INTERVAL: Final = 1.0  # seconds after which a file that was moved away is noticed
LOST: Final = "{count} lines of the log could not be written"
STANDARD_OUTPUT: Final = 1  # the descriptor


@implementer(ILogObserver)
class LogFile:
    """Writes events to a file or to standard output. Once it is open, no error is raised."""

    def __init__(self, path: Path | None, format_event: Callable[[LogEvent], str | None]) -> None:
        """`path` None is standard output. `open` comes before the first event."""
        self.lines_lost = 0  # that could not be written, since the daemon was started
        self._path = path
        self._format = format_event
        self._file = STANDARD_OUTPUT
        self._size = 0  # bytes
        self._is_regular = False  # rather than a device or a pipe, which cannot be moved or renamed
        self._look_at = 0.0  # monotonic seconds
        self._is_within_line = False  # the last write was incomplete
        self._problem = ""  # the last that was reported
        self._lost = 0  # of them, those since the last line that was written

    def open(self) -> None:
        """Open the file; ConfigurationError if that fails."""
        try:
            self._open()
        except OSError as error:
            text = _("--logfile {path}: {problem}").format(path=self._path, problem=error.strerror)
            raise ConfigurationError(text) from None

    def _open(self) -> None:
        if self._path is None:
            return
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)  # less the umask
        if self._file != STANDARD_OUTPUT:
            os.close(self._file)
        self._file = file
        status = os.fstat(file)
        self._is_regular = stat.S_ISREG(status.st_mode)
        self._size = status.st_size

    def reopen(self) -> None:
        """Begin a new file, because this one was moved away. If that fails, go on with the old one."""
        try:
            self._open()
        except OSError as error:
            self._keep_file(error)

    def __call__(self, event: LogEvent) -> None:
        text = self._format(event)
        if text:
            self._write(text.encode(errors="replace"))

    def _write(self, line: bytes) -> None:
        if self._is_regular:
            self._look_after_file(len(line))
        if self._is_within_line:
            line = b"\n" + line
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._lose_line()
            self._report(error)
            return
        self._size += written
        self._is_within_line = not line[:written].endswith(b"\n")
        if written < len(line):  # the next write will say why
            self._lose_line()
        elif self._lost:
            lost, self._lost, self._problem = self._lost, 0, ""
            log.warn(LOST, count=lost)

    def _lose_line(self) -> None:
        self._lost += 1
        self.lines_lost += 1

    def _report(self, error: OSError) -> bool:
        """Print a problem once, until lines can be written again; whether it was printed."""
        problem = f"securechat: log file {self._path or '-'}: {error.strerror}"
        if problem == self._problem:
            return False
        self._problem = problem
        with suppress(OSError, ValueError):  # ValueError: it is closed
            print(problem, file=sys.__stderr__, flush=True)
        return True

    def _keep_file(self, error: OSError) -> None:
        """Report why there is no new file. Standard error may lead nowhere, but the old file can be written."""
        if self._report(error):
            log.error("cannot begin a new log file: {problem}", problem=error.strerror)

    def _look_after_file(self, more: int) -> None:
        """Reopen the file if it was moved away, or rename it if it becomes too large."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_INTERVAL
            if self._is_elsewhere():
                self.reopen()
        if self._size + more > MAX_SIZE:
            self._rename()

    def _is_elsewhere(self) -> bool:
        assert self._path is not None
        status = os.fstat(self._file)
        self._size = status.st_size  # another daemon may write to it, or a tool truncate it
        try:
            return not os.path.samestat(status, self._path.stat())
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _rename(self) -> None:
        try:
            for number in range(MAX_FILES - 2, 0, -1):
                with suppress(FileNotFoundError):
                    os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
            os.replace(f"{self._path}", f"{self._path}.1")
            self._open()
        except OSError as error:
            self._keep_file(error)
