"""The items of a RESULT: the response to an API request (protocol, section 8, "Results").

A result is a head and either pieces of a body or server-sent events. An event may be sent as its difference from the
event before it; readers get whole events.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.msgpack import Decoder

from securechat.errors import Category, RemoteProtocolError
from securechat.wire.messages import decode

MAX_ITEM: Final = 2**24  # bytes of an item as encoded
MAX_NAME: Final = 128  # bytes of UTF-8 in the name of an event
MAX_BASE: Final = 16_384  # bytes of an event's data to which the next event may refer

JSON_TYPE: Final = "application/json"
STREAM_TYPE: Final = "text/event-stream"


class _Item(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The base class: an array of the item's number and exactly the fields of the class."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Head(_Item, frozen=True, tag=0):
    """Status and headers of the response. `retry_after` is in seconds, 0 if there is none."""

    status: Annotated[int, Meta(ge=200, le=599)]
    content_type: Annotated[str, Meta(pattern=r"\A[\x20-\x7e]{0,128}\Z")]
    retry_after: Annotated[int, Meta(ge=0)] = 0

    @property
    def is_stream(self) -> bool:
        """Whether the body consists of server-sent events."""
        return self.content_type.partition(";")[0].strip(" ").lower() == STREAM_TYPE


class Piece(_Item, frozen=True, tag=1):
    """Part of a body that is not a stream of events."""

    data: bytes


class ServerEvent(_Item, frozen=True, tag=2):
    """A server-sent event; `name` is empty if it has none. The lines of `data` are joined by LF."""

    name: str
    data: bytes


class Delta(_Item, frozen=True, tag=3):
    """An event of the same name: the first `head` bytes of the one before, `middle`, and that one's last `tail`."""

    head: Annotated[int, Meta(ge=0)]
    tail: Annotated[int, Meta(ge=0)]
    middle: bytes


Item = Head | Piece | ServerEvent  # what a reader of a result gets

ITEM: Final[Decoder[Item | Delta]] = Decoder(Item | Delta)

# The sizes in bytes of the numbers that follow these first bytes: numbers, and lengths of str and bin (msgpack).
_NUMBERS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_LENGTHS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
_SHORT_STR: Final = range(0xA0, 0xC0)  # the length is the difference from the first
_FIXED_ARRAY: Final = 0x90
_ELEMENTS: Final = (4, 2, 3, 4)  # by the number of the item


def is_valid_event(name: str, data: bytes) -> bool:
    """Whether an event has a name and data that an item can have, apart from their size."""
    return len(name.encode()) <= MAX_NAME and not any(sign in name for sign in "\r\n\0") and b"\r" not in data


def _malformed() -> RemoteProtocolError:
    return RemoteProtocolError(Category.MALFORMED)


class ItemReader:
    """Reads the items of one result from its chunks. Any RemoteProtocolError is final."""

    __slots__ = ("_buffer", "_expected", "_name", "_previous", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()  # an incomplete item
        self._wanted = 1  # bytes in the buffer with which more of it can be read
        self._expected: tuple[int, ...] = (0,)  # numbers of the items that may follow
        self._name = ""  # of the last event
        self._previous: bytes | None = None  # its data, if the next one may refer to it

    def feed(self, chunk: bytes) -> list[Item]:
        """The items that are complete with this chunk; RemoteProtocolError (malformed)."""
        buffer = self._buffer
        buffer += chunk
        items = []
        start = 0
        while (available := len(buffer) - start) >= self._wanted:
            size = self._size(start)
            if size is None or size > available:
                self._wanted = size or available + 1
                break
            items.append(self._item(bytes(buffer[start : start + size])))
            start += size
            self._wanted = 1
        del buffer[:start]
        return items

    def end(self) -> None:
        """The result is complete; RemoteProtocolError (malformed) if an item is not, or if there was none."""
        if self._buffer or 0 in self._expected:
            raise _malformed()

    def _size(self, start: int) -> int | None:
        """The size of the item that begins there; None if more bytes are needed to know it."""
        buffer = self._buffer
        end = len(buffer)
        if end < start + 2:
            return None
        number = buffer[start + 1]
        if number not in self._expected or buffer[start] != _FIXED_ARRAY + _ELEMENTS[number]:
            raise _malformed()
        at = start + 2
        for _element in range(1, _ELEMENTS[number]):
            if at >= end:
                return None
            first = buffer[at]
            at += 1
            if first in _NUMBERS:
                at += _NUMBERS[first]
            elif first in _SHORT_STR:
                at += first - _SHORT_STR.start
            elif first in _LENGTHS:
                content = at + _LENGTHS[first]
                if content > end:
                    return None
                at = content + int.from_bytes(buffer[at:content], "big")
                if at - start > MAX_ITEM:
                    raise _malformed()
            elif first >= 0x80:
                raise _malformed()
        return at - start

    def _item(self, data: bytes) -> Item:
        item = decode(ITEM, data)
        if isinstance(item, Head):
            self._expected = (2, 3) if item.is_stream else (1,)
            return item
        if isinstance(item, Piece):
            return item
        if isinstance(item, Delta):
            previous = self._previous
            if previous is None or item.head + item.tail > len(previous):
                raise _malformed()
            end = previous[len(previous) - item.tail :]
            item = ServerEvent(self._name, previous[: item.head] + item.middle + end)
        if not is_valid_event(item.name, item.data):
            raise _malformed()
        self._name = item.name
        self._previous = item.data if len(item.data) <= MAX_BASE else None
        return item
