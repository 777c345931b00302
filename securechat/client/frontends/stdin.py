"""Lines from standard input, read in a thread so that they do not block the reactor."""

import os
import select
import threading
from collections import deque
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from securechat.client.output import wait_for
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.wire.messages import MAX_MESSAGE

AHEAD: Final = 8  # lines that are read ahead
READ_SIZE: Final = 64 * 1024  # bytes


def read_some(descriptor: int, size: int) -> bytes:
    """Block until some bytes can be read, and read them; b"" at the end. ConfigurationError."""
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            wait_for(descriptor, select.POLLIN)
        except OSError as error:
            raise ConfigurationError(_("standard input: {problem}").format(problem=error.strerror)) from None


class StdinLines:
    """Reads lines from a file descriptor: a regular file, a pipe or a terminal.

    The thread is a daemon thread and uses os.read, so that a blocked read does not prevent the program from exiting.
    From a terminal it reads nothing before the first call of `next`: it would take the answers to our questions.
    """

    def __init__(self, descriptor: int, reactor: IReactorFromThreads) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        self._room = threading.Semaphore(AHEAD)
        self._ready: deque[tuple[int, str] | ConfigurationError | None] = deque()  # lines with their numbers
        self._wanted: Deferred[str | None] | None = None
        self._limit = MAX_MESSAGE
        self._thread = threading.Thread(target=self._read, daemon=True)
        if not os.isatty(descriptor):
            self._thread.start()

    def next(self, limit: int) -> "Deferred[str | None]":
        """The next line that is not blank, with its indentation; None at the end.

        ConfigurationError if it is not valid UTF-8, or has more than `limit` bytes.
        """
        if self._thread.ident is None:
            self._thread.start()
        self._wanted = Deferred()
        self._limit = limit
        wanted = self._wanted
        self._deliver()
        return wanted

    def _deliver(self) -> None:
        if self._wanted is None or not self._ready:
            return
        wanted, self._wanted = self._wanted, None
        line = self._ready[0]
        if line is None:
            wanted.callback(None)
        elif isinstance(line, ConfigurationError):
            wanted.errback(line)
        elif len(line[1].encode()) > self._limit:
            wanted.errback(_too_long(line[0], self._limit))
        else:
            self._ready.popleft()
            self._room.release()
            wanted.callback(line[1])

    def _put(self, line: tuple[int, str] | ConfigurationError | None) -> None:
        self._ready.append(line)
        self._deliver()

    def _read(self) -> None:
        pieces: list[bytes] = []  # of the incomplete line
        size = 0  # their bytes
        number = 1  # of the incomplete line
        while True:
            try:
                data = read_some(self._descriptor, READ_SIZE)
            except ConfigurationError as error:
                self._reactor.callFromThread(self._put, error)
                return
            first, *lines = data.split(b"\n")
            pieces.append(first)
            size += len(first)
            if lines or not data:
                *complete, rest = (b"".join(pieces), *lines) if lines else (b"".join(pieces), b"")
                for line in complete:
                    if not self._take(number, line):
                        return
                    number += 1
                pieces, size = [rest], len(rest)
            if size > MAX_MESSAGE:
                self._reactor.callFromThread(self._put, _too_long(number, MAX_MESSAGE))
                return
            if not data:
                self._reactor.callFromThread(self._put, None)
                return

    def _take(self, number: int, line: bytes) -> bool:
        """Pass a line to the reactor; False if it is not valid UTF-8, which ends the reading."""
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            error = ConfigurationError(_("line {line}: not valid UTF-8").format(line=number))
            self._reactor.callFromThread(self._put, error)
            return False
        if text.strip():
            self._room.acquire()
            self._reactor.callFromThread(self._put, (number, text))
        return True


def _too_long(number: int, limit: int) -> ConfigurationError:
    return ConfigurationError(_("line {line}: message exceeds {size} bytes").format(line=number, size=limit))
