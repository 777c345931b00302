"""Writing the items of a RESULT as its records are sealed (protocol, section 8, "Results")."""

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import ValidationError, convert

from securechat.calls.joining import Template
from securechat.errors import Fault, RobotError
from securechat.wire.items import MAX_BASE, MAX_ITEM, Delta, Head, Piece, ServerEvent, is_valid_event
from securechat.wire.messages import encode

_MIN_PIECE: Final = 128  # bytes of a body in an item, if there are so many: no tiny items at the end of a record
_PIECE_OVERHEAD: Final = 5  # bytes of such an item beside the body
_MIN_COMMON: Final = 16  # bytes that must be the same to send an event as its difference from the one before
_MAX_EVENT: Final = MAX_ITEM - 256  # bytes of an event's data: the rest is for its name and the lengths


def _broken() -> RobotError:
    return RobotError(Fault.BROKEN_ANSWER, "a part of the response cannot be represented")


class ResultWriter:
    """The part of one result that is not sent: items are written when the records that begin with them are sealed.

    Until then an event is joined with the next one, if the protocol allows it.
    """

    __slots__ = ("_body", "_events", "_in_last", "_items", "_name", "_previous", "_size", "_template")

    def __init__(self) -> None:
        self._items = bytearray()  # written; the first may have been sent in part
        self._body = bytearray()  # of a response that is not a stream
        self._events: deque[ServerEvent] = deque()  # of one that is
        self._size = 0  # bytes of the data of the events
        self._template: Template | None = None  # of the last event, or of an earlier one
        self._in_last: list[bytes] | None = None  # what the last event has in the holes of the template, if it has them
        self._name = ""  # of the last event that was written
        self._previous: bytes | None = None  # its data, if the next one may refer to it

    @property
    def size(self) -> int:
        """The number of bytes that wait, about. It is 0 if everything was taken."""
        return len(self._items) + len(self._body) + self._size + len(self._events)

    def add_head(self, status: int, content_type: str, retry_after: int = 0) -> None:
        """Begin the result; RobotError (broken answer) if the head cannot be represented."""
        try:
            self._items += encode(convert((0, status, content_type, retry_after), Head))
        except ValidationError:
            raise _broken() from None

    def add_body(self, data: bytes) -> None:
        """Append to the body of a response that is not a stream."""
        self._body += data

    def add_event(self, name: str, data: bytes) -> None:
        """Append an event of a stream; RobotError (broken answer) if it cannot be represented.

        `data` is the lines of the event, joined by LF.
        """
        if len(data) > _MAX_EVENT or not is_valid_event(name, data):
            raise _broken()
        joined = self._join(name, data)
        if joined is not None:
            self._size -= len(self._events.pop().data)
            data = joined
        self._events.append(ServerEvent(name, data))
        self._size += len(data)

    def take(self, size: int) -> bytes:
        """The next bytes to be sent, at most `size`."""
        items = self._items
        while len(items) < size and (self._events or self._body):
            items += encode(self._next_event() if self._events else self._next_piece(size - len(items)))
        taken = bytes(items[:size])
        del items[:size]
        return taken

    def _join(self, name: str, data: bytes) -> bytes | None:
        """The data of the last event joined with this; None if they are not joined."""
        known, self._in_last = self._in_last, None
        if not self._events or self._events[-1].name != name:
            return None
        template = self._template
        last = self._events[-1].data
        if known is None:
            known = None if template is None else template.match(last)
        if known is None:
            template = Template.of(last)
            known = None if template is None else template.match(last)
        if template is None or known is None:
            return None
        self._template = template
        found = template.match(data)
        if found is None:
            return None
        joined = template.join(known, found)
        self._in_last = found if joined is None else joined
        return None if joined is None else template.fill(joined)

    def _next_event(self) -> ServerEvent | Delta:
        event = self._events.popleft()
        data = event.data
        self._size -= len(data)
        previous = self._previous if event.name == self._name else None
        self._name = event.name
        self._previous = data if len(data) <= MAX_BASE else None
        if previous is None:
            return event
        head, tail = _common(previous, data)
        return event if head + tail < _MIN_COMMON else Delta(head, tail, data[head : len(data) - tail])

    def _next_piece(self, room: int) -> Piece:
        """As much of the body as fits into the record, so that the client can use it at once."""
        size = max(room - _PIECE_OVERHEAD, _MIN_PIECE)
        piece = Piece(bytes(self._body[:size]))
        del self._body[:size]
        return piece


def _common(one: bytes, other: bytes) -> tuple[int, int]:
    """The lengths of the beginning and of the end that two strings have in common and that do not overlap."""
    shorter = min(len(one), len(other))
    head = _longest(shorter, lambda size: one[:size] == other[:size])
    return head, _longest(shorter - head, lambda size: one[len(one) - size :] == other[len(other) - size :])


def _longest(most: int, is_common: Callable[[int], bool]) -> int:
    """The largest number up to `most` for which this holds, as it does for all smaller ones."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if is_common(middle):
            least = middle
        else:
            most = middle - 1
    return least
