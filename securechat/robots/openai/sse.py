"""Server-Sent Events: bytes in, in whatever pieces, and events out; section 9.2 of the WHATWG's HTML standard.

Three things are ours: the bounds; an end without the blank line that should be there, if what it ends is
``data: [DONE]``; and lines ``error: {…}``, a field that the standard does not know, which old llama.cpp servers send.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from securechat.errors import Fault, RobotError
from securechat.i18n import _

MAX_LINE: Final = 1024 * 1024  # bytes; a token has a few hundred
MAX_EVENT: Final = 4 * 1024 * 1024  # bytes of the lines of one event
DONE: Final = "[DONE]"
MESSAGE: Final = "message"  # the type of events that name none
ERROR: Final = "error"

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """One event: its type and its data."""

    type: str
    data: str


class EventStream:
    """The events of one stream. Comments are not among them."""

    def __init__(self) -> None:
        self._line = bytearray()  # what there is of the line that has begun
        self._after_cr = False  # a LF that comes now belongs to the CR before it
        self._first = True
        self._type = ""
        self._data: list[str] = []
        self._event_size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that end in these bytes. Take them all: what is not taken is not parsed.

        RobotError (broken answer) after a line or an event that is too large.
        """
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        *ended, rest = _LINE_END.split(data)
        for part in ended:
            yield from self._ended(self._complete(part))
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > MAX_LINE:
            raise RobotError(Fault.BROKEN_ANSWER, _("a line of the answer is too long"))

    def _complete(self, part: bytes) -> bytes:
        self._add(part)
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        return line

    def end(self) -> Iterator[Event]:
        """The stream is over. What has no blank line after it is no event, but for the one that says all is said."""
        if line := self._complete(b""):
            list(self._take(line))
        if self._data == [DONE]:
            yield Event(self._type or MESSAGE, DONE)

    def _ended(self, line: bytes) -> Iterator[Event]:
        if line:
            yield from self._take(line)
            return
        data, self._data, self._event_size = self._data, [], 0
        kind, self._type = self._type, ""
        if data:
            yield Event(kind or MESSAGE, "\n".join(data))

    def _take(self, line: bytes) -> Iterator[Event]:
        """One line that is not blank."""
        name, _colon, rest = line.partition(b":")
        # A character never has a byte of a line's end in it, so each line can be decoded by itself.
        value = rest.removeprefix(b" ").decode(errors="replace")
        match name:
            case b"data":
                self._event_size += len(line)
                if self._event_size > MAX_EVENT:
                    raise RobotError(Fault.BROKEN_ANSWER, _("an event of the answer is too large"))
                self._data.append(value)
            case b"event":
                self._type = value
            case b"error":
                yield Event(ERROR, value)
