"""Server-Sent Events: bytes in, in any pieces, and events out (WHATWG HTML, section 9.2)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from securechat.errors import Fault, RobotError
from securechat.i18n import _

MAX_LINE: Final = 1024 * 1024  # bytes
MAX_EVENT: Final = 4 * 1024 * 1024  # bytes of one event's data

DONE: Final = "[DONE]"  # the data with which the streams of chat servers end

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, repr=False)
class ServerEvent:
    """One event. Ids and retry times, which are for those who connect again, are left out."""

    kind: str
    data: str


class EventStream:
    """Takes a stream apart. RobotError (broken answer) for what is too large; everything else is an event or nothing.

    Two things are not in the standard, but on the wire: a last line ``data: [DONE]`` counts without the empty line that
    ends an event, and a line ``error: …`` is an event of that kind.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer in which no line ends
        self._after_cr = False  # a line ended in CR, to which an LF that comes next belongs
        self._at_start = True
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """More of the stream, and the events that it completes."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        self._buffer += data
        start = 0
        while found := _LINE_END.search(self._buffer, max(start, self._searched)):
            line = bytes(self._buffer[start : found.start()])
            start = self._searched = found.end()
            yield from self._line(line)
        self._after_cr = start == len(self._buffer) and self._buffer.endswith(b"\r")
        del self._buffer[:start]
        self._searched = len(self._buffer)
        self._check(len(self._buffer), MAX_LINE)

    def end(self) -> Iterator[ServerEvent]:
        """The stream is over. An event that was not finished is none, but for the one that says so."""
        if self._buffer:
            yield from self._line(bytes(self._buffer))
        if "\n".join(self._data) == DONE:
            yield from self._dispatch()

    def _line(self, line: bytes) -> Iterator[ServerEvent]:
        self._check(len(line), MAX_LINE)
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if not line:
            yield from self._dispatch()
            return
        name, _colon, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._size += len(line)
            self._check(self._size, MAX_EVENT)
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "error":
            yield ServerEvent("error", value)

    def _dispatch(self) -> Iterator[ServerEvent]:
        if self._data:
            yield ServerEvent(self._kind or "message", "\n".join(self._data))
        self._kind = ""
        self._data = []
        self._size = 0

    @staticmethod
    def _check(size: int, limit: int) -> None:
        if size > limit:
            raise RobotError(Fault.BROKEN_ANSWER, _("an event of the stream is too large"))
