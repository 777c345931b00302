"""The server's responses in Ollama's formats."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import json

from securechat.client.api.errors import JSON_TYPE, HttpError
from securechat.client.api.ollama.lines import Lines
from securechat.client.api.ollama.reply import NOTHING, Part, Reply
from securechat.client.api.ollama.responses import error_in
from securechat.i18n import _
from securechat.wire.items import Head, Piece, ServerEvent

_STREAM_TYPE: Final = "application/x-ndjson"
_MAX_BODY: Final = 2**24  # bytes of a response that is translated as a whole


def format_error(error: HttpError) -> bytes:
    """An error in Ollama's format."""
    return json.encode({"error": error.message})


class _Body:
    """The body of a response, collected."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """Append data; HttpError if the body becomes too long."""
        self._data += data
        if len(self._data) > _MAX_BODY:
            raise HttpError(502, _("the server's response is too long"))

    def take(self) -> bytes:
        """The body; HttpError if it is that of an error response."""
        if not _is_success(self.head):
            raise error_in(bytes(self._data), self.head)
        return bytes(self._data)


class WholeDialect:
    """A response that is translated when it is complete."""

    comment = b""

    def __init__(self, translate: Callable[[bytes], bytes]) -> None:
        """`translate` gets the body of a successful response, and raises HttpError if that is not valid."""
        self._translate = translate
        self._body: _Body | None = None

    def head_without_status(self) -> None:
        """The status is not known before the end."""

    def items(self, items: list[Head | Piece | ServerEvent]) -> Iterable[Head | bytes]:
        """Nothing yet."""
        for item in items:
            if isinstance(item, Head):
                self._body = _Body(item)
            elif self._body is not None:
                self._body.add(item.data)
        return ()

    def end(self) -> Iterable[Head | bytes]:
        """The whole response."""
        if self._body is None:
            return ()
        if self._body.head.is_stream and _is_success(self._body.head):
            raise HttpError(502, _("the server's response is a stream"))
        return (Head(200, JSON_TYPE), self._translate(self._body.take()))

    def error(self, error: HttpError) -> None:
        """Nothing can follow the response."""


class StreamDialect:
    """A reply as a stream of objects."""

    def __init__(self, reply: Reply, lines: Lines) -> None:
        self._reply = reply
        self._lines = lines
        self._has_head = False
        self._body: _Body | None = None  # of a response that is not a stream, or reports an error

    @property
    def comment(self) -> bytes:
        """An object without text: Ollama's streams have no comments."""
        return self._lines.nothing() if self._has_head else b""

    def head_without_status(self) -> Head:
        """The head of the stream."""
        self._has_head = True
        return Head(200, _STREAM_TYPE)

    def items(self, items: list[Head | Piece | ServerEvent]) -> Iterator[Head | bytes]:
        """An object for each chunk that adds something to the reply."""
        for item in items:
            if isinstance(item, Head):
                if not (item.is_stream and _is_success(item)):
                    self._body = _Body(item)
                elif not self._has_head:
                    yield self.head_without_status()
            elif self._body is not None:
                self._body.add(item.data)
            elif isinstance(item, ServerEvent):
                part = self._reply.feed(item.data)
                if part != NOTHING:
                    yield self._lines.part(part)

    def end(self) -> Iterator[Head | bytes]:
        """The last object; before it the reply, if the server did not stream it."""
        rest = self._reply.end() if self._body is None else self._reply.whole(self._body.take())
        if not self._has_head:
            yield self.head_without_status()
        if rest != NOTHING:
            yield self._lines.part(rest)
        yield self._lines.last(self._reply)

    def error(self, error: HttpError) -> bytes | None:
        """An object with the error. No other follows."""
        return format_error(error) + b"\n"


def reply_dialect(reply: Reply, lines: Lines, *, is_stream: bool) -> StreamDialect | WholeDialect:
    """The dialect of a reply, as a stream or as one object."""

    def translate(body: bytes) -> bytes:
        part: Part = reply.whole(body)
        return lines.last(reply, part)

    return StreamDialect(reply, lines) if is_stream else WholeDialect(translate)


def _is_success(head: Head) -> bool:
    return head.status < 300
