"""The lines of an event stream."""

from collections.abc import Iterator
from typing import Final

from securechat.errors import Fault, RobotError

_BOM: Final = b"\xef\xbb\xbf"


class Lines:
    """Splits a stream into lines, which end in LF, CR or CRLF. A byte order mark before the first one is removed."""

    def __init__(self, max_line: int) -> None:
        """`max_line` is in bytes."""
        self._max_line = max_line
        self._line = bytearray()  # the beginning of the current line
        self._after_cr = False  # if a LF follows, it belongs to the CR before it
        self._is_first = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete with these bytes. `data` is split as the iterator is advanced: exhaust it.

        RobotError (broken answer) if a line is too long.
        """
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield self._complete(end) if self._line or self._is_first or len(end) > self._max_line else end
        self._add(rest)

    def end(self) -> bytes:
        """The end of the stream: the last line, if no line end follows it; otherwise nothing."""
        return self._complete(b"")

    def _add(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > self._max_line:
            raise RobotError(Fault.BROKEN_ANSWER, "a line of the event stream is too long")

    def _complete(self, end: bytes) -> bytes:
        self._add(end)
        line = bytes(self._line)
        self._line.clear()
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(_BOM)
        return line
