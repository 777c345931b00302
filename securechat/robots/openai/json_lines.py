"""Bodies that consist of JSON alone: one value, or one value after another on lines of their own."""

from collections.abc import Iterator
from typing import Final

import msgspec

from securechat.errors import Fault, RobotError
from securechat.robots.openai.sse import MESSAGE, Event

MAX_VALUE: Final = 4 * 1024 * 1024  # bytes of one value


class JsonLines:
    """Splits a body into values, as events. A value may be pretty-printed, so that it has several lines."""

    def __init__(self) -> None:
        self._value = bytearray()  # the complete lines of the present value
        self._line = bytearray()  # the beginning of the present line

    def feed(self, data: bytes) -> Iterator[Event]:
        """The values that are complete with these bytes. `data` is parsed as the iterator is advanced: exhaust it.

        RobotError (broken answer) if a value is too large.
        """
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self._line_received()
        self._add(rest)

    def end(self) -> Iterator[Event]:
        """The end of the body: the last value."""
        yield from self._line_received()
        yield from self._take()

    def _add(self, part: bytes) -> None:
        self._line += part
        if len(self._value) + len(self._line) > MAX_VALUE:
            raise RobotError(Fault.BROKEN_ANSWER, "the response is too large")

    def _line_received(self) -> Iterator[Event]:
        line = bytes(self._line).strip().removeprefix(b"data:").lstrip()
        self._line.clear()
        if not line:
            return
        # Within a value, an object that ends is not followed by one that begins.
        if not self._value or (self._value.endswith(b"}") and line.startswith(b"{")):
            yield from self._take()
            self._value += line
            if _is_object(line):
                yield from self._take()
        else:
            self._value += b"\n" + line

    def _take(self) -> Iterator[Event]:
        value, self._value = self._value, bytearray()
        if value:
            yield Event(MESSAGE, value.decode(errors="replace"))


def _is_object(line: bytes) -> bool:
    if not line.endswith(b"}"):
        return False
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True
