"""Lines from standard input, read in a thread so that they do not block the reactor."""

import os
import threading
from collections import deque
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.wire.messages import MAX_MESSAGE

AHEAD: Final = 8  # lines that are read ahead
READ_SIZE: Final = 64 * 1024  # bytes


class StdinLines:
    """Reads lines from a file descriptor: a regular file, a pipe or a terminal.

    The thread is a daemon thread and uses os.read, so that a blocked read does not prevent the program from exiting.
    """

    def __init__(self, descriptor: int, reactor: IReactorFromThreads) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        self._room = threading.Semaphore(AHEAD)
        self._ready: deque[str | ConfigurationError | None] = deque()
        self._wanted: Deferred[str | None] | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> "Deferred[str | None]":
        """The next line that is not empty; None at the end. ConfigurationError if it is not a valid message."""
        self._wanted = Deferred()
        wanted = self._wanted
        self._deliver()
        return wanted

    def _deliver(self) -> None:
        if self._wanted is None or not self._ready:
            return
        wanted, self._wanted = self._wanted, None
        line = self._ready[0]
        if line is not None and not isinstance(line, ConfigurationError):
            self._ready.popleft()
            self._room.release()
        if isinstance(line, ConfigurationError):
            wanted.errback(line)
        else:
            wanted.callback(line)

    def _put(self, line: str | ConfigurationError | None) -> None:
        self._ready.append(line)
        self._deliver()

    def _read(self) -> None:
        rest = b""
        number = 0
        while True:
            try:
                data = os.read(self._descriptor, READ_SIZE)
            except OSError as error:
                problem = _("standard input: {problem}").format(problem=error.strerror)
                self._reactor.callFromThread(self._put, ConfigurationError(problem))
                return
            *lines, rest = (rest + data).split(b"\n")
            if not data and rest:
                lines.append(rest)
            for line in lines:
                number += 1
                if not self._take(number, line):
                    return
            if len(rest) > MAX_MESSAGE:
                self._take(number + 1, rest)
                return
            if not data:
                self._reactor.callFromThread(self._put, None)
                return

    def _take(self, number: int, line: bytes) -> bool:
        """Pass a line to the reactor; False if it is invalid, which ends the reading."""
        line = line.strip()
        try:
            text = line.decode()
            if len(line) > MAX_MESSAGE:
                raise ConfigurationError(
                    _("line {line}: message exceeds {size} bytes").format(line=number, size=MAX_MESSAGE)
                )
        except UnicodeDecodeError:
            error = ConfigurationError(_("line {line}: not valid UTF-8").format(line=number))
            self._reactor.callFromThread(self._put, error)
            return False
        except ConfigurationError as error:
            self._reactor.callFromThread(self._put, error)
            return False
        if text:
            self._room.acquire()
            self._reactor.callFromThread(self._put, text)
        return True
