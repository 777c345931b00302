"""Standard output and standard error: all of the text is written, and the reactor does not wait for a slow reader.

While the reactor runs, a thread writes both streams, in order. It waits for a descriptor that is non-blocking, as it is
if a program that shares it has made it so. A character that the locale's encoding lacks is replaced.
"""

import io
import os
import select
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import IO, Any, Final, TextIO, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads

STANDARD_INPUT: Final = 0
STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2
MAX_WAITING: Final = 1024 * 1024  # bytes, a long reply; beyond that the server is not read


def open_closed_descriptors() -> None:
    """Open /dev/null for each standard descriptor that is closed, as ssh does, so that no other file gets its number.

    Python has set ``sys.stdin``, ``sys.stdout`` or ``sys.stderr`` to None then.
    """
    for descriptor in (STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def wait_for(descriptor: int, event: int) -> None:
    """Block until a descriptor is ready, where `event` is POLLIN or POLLOUT, or has an error."""
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, and block until it is written; OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            wait_for(descriptor, select.POLLOUT)


class _Stream(io.RawIOBase):
    """A standard stream, as a file of bytes."""

    def __init__(self, output: "Output", descriptor: int) -> None:
        self._output = output
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        copy = bytes(data)
        self._output.write(self._descriptor, copy)
        return len(copy)


class Output:
    """Writes to standard output and standard error: at once until `start` is called, then in a thread."""

    def __init__(self) -> None:
        self.failed: Callable[[OSError], object] = lambda error: None  # called if standard output cannot be written
        self.is_lent = False  # while another program, such as an editor, has the terminal
        self._reactor: IReactorFromThreads | None = None
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()  # None is the end
        self._lock = threading.Lock()
        self._size = 0  # bytes that have not been written, as far as the reactor knows
        self._broken: dict[int, OSError] = {}  # descriptors that could not be written
        self._drained: list[Deferred[None]] = []
        self._hold: Callable[[bool], object] = lambda is_full: None
        self._is_full = False

    def install(self) -> None:
        """Make this what ``print`` and everything else writes to. Closed standard error is /dev/null from now on."""
        open_closed_descriptors()
        if sys.stdout is not None:
            sys.stdout = self._text(STANDARD_OUTPUT, sys.stdout)
        sys.stderr = self._text(STANDARD_ERROR, sys.stderr)

    def _text(self, descriptor: int, before: TextIO | None) -> TextIO:
        encoding = before.encoding if before is not None else "utf-8"
        stream = cast(IO[bytes], _Stream(self, descriptor))
        return io.TextIOWrapper(stream, encoding=encoding, errors="replace", line_buffering=True)

    def start(self, reactor: IReactorFromThreads) -> None:
        """Write in a thread from now on. It is a daemon thread: a blocked write does not keep the program running."""
        self._reactor = reactor
        self._thread = threading.Thread(target=self._run, args=(reactor,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write at once again, unless something still waits: that, and what follows, is lost."""
        self._queue.put(None)
        if not self._size and self._thread is not None:
            self._thread.join()
            self._reactor = None

    def hold(self, hold: Callable[[bool], object]) -> None:
        """Call `hold` with True when so much waits to be written that nothing should be added, then with False."""
        self._hold = hold
        self._is_full = False

    @property
    def error(self) -> OSError | None:
        """Why standard output could not be written, if it could not."""
        return self._broken.get(STANDARD_OUTPUT)

    def drained(self) -> Deferred[None]:
        """Fires when all has been written, or could not be; it can be cancelled."""
        if not self._size:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def write(self, descriptor: int, data: bytes) -> None:
        """Write, or drop what cannot be written; OSError the first time, if no thread is running."""
        if self._reactor is None:
            self._write_now(descriptor, data)
            return
        with self._lock:
            self._size += len(data)
        self._queue.put((descriptor, data))
        if self._size > MAX_WAITING and not self._is_full:
            self._reactor.callFromThread(self._check)

    def _write_now(self, descriptor: int, data: bytes) -> None:
        if descriptor in self._broken:
            return
        try:
            write_all(descriptor, data)
        except OSError as error:
            self._broken[descriptor] = error
            raise

    def _run(self, reactor: IReactorFromThreads) -> None:
        while piece := self._queue.get():
            descriptor, data = piece
            try:
                self._write_now(descriptor, data)
            except OSError as error:
                if descriptor == STANDARD_OUTPUT:
                    reactor.callFromThread(self._fail, error)
            reactor.callFromThread(self._written, len(data))

    def _fail(self, error: OSError) -> None:
        self.failed(error)

    def _written(self, size: int) -> None:
        """So much was written, or could not be: then `_fail` has been called before."""
        with self._lock:
            self._size -= size
        self._check()

    def _check(self) -> None:
        """Tell who waits, or has to wait."""
        is_full = self._size > (MAX_WAITING // 2 if self._is_full else MAX_WAITING)
        if is_full is not self._is_full:
            self._is_full = is_full
            self._hold(is_full)
        if not self._size:
            waiting, self._drained = self._drained, []
            for drained in waiting:
                drained.callback(None)
