"""The events of a stream as they were sent, for tools that read them; section 9.2 of the WHATWG HTML standard.

Nothing in the data is changed or interpreted. Comments, the fields ``id`` and ``retry`` and events without data are
left out.
"""

from collections.abc import Iterator
from typing import Final

from securechat.errors import Fault, RobotError
from securechat.robots.openai.lines import Lines
from securechat.wire.items import MAX_ITEM, ServerEvent

MAX_EVENT: Final = MAX_ITEM  # bytes of an event's data: a larger one cannot be passed on
DONE: Final = b"[DONE]"

_MAX_LINE: Final = MAX_EVENT + 64  # bytes, with the name of the field


class RawEvents:
    """The parser of one stream."""

    def __init__(self) -> None:
        self._lines = Lines(_MAX_LINE)
        self._name = b""
        self._data: list[bytes] = []  # lines of the current event
        self._size = 0  # bytes of them

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that are complete with these bytes. `data` is parsed as the iterator is advanced: exhaust it.

        RobotError (broken answer) if an event is too large, or its name is not UTF-8.
        """
        for line in self._lines.feed(data):
            if line:
                self._field_received(line)
                continue
            if self._data:
                yield self._take_event()
            self._name = b""

    def end(self) -> Iterator[ServerEvent]:
        """The end of the stream. An event that no blank line completes is discarded, unless it is ``[DONE]``."""
        if line := self._lines.end():
            self._field_received(line)
        if self._data == [DONE]:
            yield self._take_event()

    def _field_received(self, line: bytes) -> None:
        field, _colon, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + 1
            if self._size > MAX_EVENT:
                raise RobotError(Fault.BROKEN_ANSWER, "an event of the event stream is too large")
            self._data.append(value)
        elif field == b"event":
            self._name = value.removeprefix(b" ")

    def _take_event(self) -> ServerEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._size = [], 0
        try:
            return ServerEvent(self._name.decode(), data)
        except UnicodeDecodeError:
            raise RobotError(Fault.BROKEN_ANSWER, "the name of an event is not UTF-8") from None
