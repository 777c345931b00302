"""Server-Sent Events: bytes in, events out; section 9.2 of the WHATWG HTML standard.

Servers do not all keep to the standard, so there are these differences from it:

- Lines and events have a maximum size.
- Events whose data is a JSON object need no blank line after them: a line of data that begins an object is the next
  event if the data before it ends one. The same holds for ``[DONE]``, and at the end of a stream.
- A line ``error: {…}``, which old llama.cpp servers send, is an event of type "error".
- A line that is a JSON object itself is an event, ``data: data: …`` is the same as ``data: …``, and the names of fields
  may be in upper case and have spaces around them.
- The fields ``id`` and ``retry`` are ignored, because a reply is never resumed.
"""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from securechat.errors import Fault, RobotError
from securechat.robots.openai.lines import Lines

MAX_LINE: Final = 1024 * 1024  # bytes; the line of a token has a few hundred
MAX_EVENT: Final = 4 * 1024 * 1024  # bytes of all data lines of an event
DONE: Final = "[DONE]"
MESSAGE: Final = "message"  # the type of an event that does not name one
ERROR: Final = "error"

_REPEATED_NAME: Final = re.compile(r"(?:data:\s*)+")


class Event(Struct, frozen=True, gc=False):
    """One event."""

    type: str
    data: str

    def __repr__(self) -> str:
        return "<Event>"


class EventStream:
    """The parser of one stream."""

    def __init__(self) -> None:
        self._lines = Lines(MAX_LINE)
        self._type = ""
        self._data: list[str] = []
        self._event_size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that are complete with these bytes. `data` is parsed as the iterator is advanced: exhaust it.

        RobotError (broken answer) if a line or an event is too large.
        """
        for line in self._lines.feed(data):
            if line.startswith(b"data: ") and not self._data:  # the line of a token
                self._add_data(line, line[6:].decode(errors="replace"))
            elif line:
                yield from self._field_received(line)
            elif self._data:
                yield self._take_event()
            else:
                self._type = ""

    def end(self) -> Iterator[Event]:
        """The end of the stream. An event that no blank line completes is discarded, unless it looks complete."""
        if line := self._lines.end():
            yield from self._field_received(line)
        if self._data == [DONE] or self._is_object():
            yield self._take_event()

    def _take_event(self) -> Event:
        """The event with the data so far; a line with data has arrived."""
        data = self._data[0] if len(self._data) == 1 else "\n".join(self._data)
        event = Event(self._type or MESSAGE, data)
        self._data, self._event_size, self._type = [], 0, ""
        return event

    def _add_data(self, line: bytes, value: str) -> None:
        if value.startswith("data:"):
            value = _REPEATED_NAME.sub("", value, 1)
        self._event_size += len(line)
        if self._event_size > MAX_EVENT:
            raise RobotError(Fault.BROKEN_ANSWER, "an event of the event stream is too large")
        self._data.append(value)

    def _is_object(self) -> bool:
        """Whether the data begins and ends like a JSON object."""
        return bool(self._data) and self._data[0].startswith("{") and self._data[-1].endswith("}")

    def _field_received(self, line: bytes) -> Iterator[Event]:
        name, _colon, rest = line.partition(b":")
        if name != b"data":
            name = name.strip().lower()
        # No character contains the bytes of a line end, so lines can be decoded one by one.
        value = rest.removeprefix(b" ").decode(errors="replace")
        match name:
            case b"data":
                if value.startswith("data:"):
                    value = _REPEATED_NAME.sub("", value, 1)
                if self._data and value.startswith(("{", DONE)) and self._is_object():
                    yield self._take_event()
                self._add_data(line, value)
            case b"event":
                self._type = value
            case b"error":
                yield Event(ERROR, value)
            case _ if line.startswith(b"{"):
                yield Event(MESSAGE, line.decode(errors="replace"))
