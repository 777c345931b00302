"""OpenAI's interface: requests and responses are passed on unchanged."""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import MsgspecError, Struct, json

from securechat.calls.paths import find_route
from securechat.client.api.errors import HttpError, openai_error
from securechat.client.api.interface import Answer, Forward
from securechat.client.api.model_list import MODELS_PATH, ModelList
from securechat.i18n import _
from securechat.wire.items import Head, Piece, ServerEvent

FOLDER: Final = "v1"

_STREAM_TYPE: Final = "text/event-stream; charset=utf-8"
_COMMENT: Final = b":\n\n"  # with an empty line, because some tools split a stream at empty lines only
_MAX_LATE_ERROR: Final = 65_536  # bytes of an error response that comes after the head


class _Options(Struct):
    """The option of a request that matters here."""

    stream: bool | None = None


class _Error(Struct):
    """An error response in one of the usual forms."""

    error: dict[str, object] | str


def asks_for_stream(body: bytes) -> bool:
    """Whether a request asks for a stream; False if its body is not valid, which the server checks."""
    if b"stream" not in body:
        return False
    try:
        return json.decode(body, type=_Options).stream is True
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def write_event(event: ServerEvent) -> bytes:
    """The text of a server-sent event."""
    name = f"event: {event.name}\n".encode() if event.name else b""
    return b"%bdata: %b\n\n" % (name, event.data.replace(b"\n", b"\ndata: "))


class OpenAIDialect:
    """The dialect of a request; `may_stream` if it asks for a stream of events."""

    def __init__(self, *, may_stream: bool) -> None:
        self._may_stream = may_stream
        self._is_stream = False
        self._has_head = False
        self._late_error: bytearray | None = None  # the body of a response that cannot be passed on: there is a head
        self._late_status = 0

    @property
    def comment(self) -> bytes:
        """A comment for streams only."""
        return _COMMENT if self._is_stream else b""

    def head_without_status(self) -> Head | None:
        """The head of a stream if the tool asked for one: comments then show that the connection is alive."""
        if not self._may_stream:
            return None
        self._is_stream = self._has_head = True
        return Head(200, _STREAM_TYPE)

    def items(self, items: list[Head | Piece | ServerEvent]) -> Iterator[Head | bytes]:
        """The head, the pieces and the events as they are; of an error that comes late, nothing yet."""
        for item in items:
            if isinstance(item, ServerEvent):
                yield write_event(item)
            elif isinstance(item, Piece):
                if self._late_error is None:
                    yield item.data
                elif len(self._late_error) < _MAX_LATE_ERROR:
                    self._late_error += item.data
            elif not self._has_head:
                self._has_head = True
                self._is_stream = item.is_stream
                yield Head(item.status, _STREAM_TYPE, item.retry_after) if item.is_stream else item
            elif not item.is_stream:
                self._late_error = bytearray()
                self._late_status = item.status

    def end(self) -> Iterable[Head | bytes]:
        """Nothing more, but for an error that came late: as an event."""
        if self._late_error is None:
            return ()
        try:
            error = json.encode(json.decode(self._late_error, type=_Error))
        except (MsgspecError, UnicodeDecodeError, RecursionError):
            status = self._late_status if self._late_status >= 400 else 502
            error = openai_error(HttpError(status, _("the server's response is not a stream")))
        return (write_event(ServerEvent("", error)),)

    def error(self, error: HttpError) -> bytes | None:
        """An event with the error, without [DONE]; None in another body."""
        return write_event(ServerEvent("", openai_error(error))) if self._is_stream else None


class OpenAIInterface:
    """The paths of the protocol, without changes to requests or responses."""

    def __init__(self, models: ModelList) -> None:
        self._models = models

    def methods(self, path: str) -> tuple[str, ...]:
        """The one method of each path."""
        route = find_route(path)
        return () if route is None else (route.method,)

    def respond(self, method: str, path: str, body: bytes) -> Forward | Answer:
        """Every request goes to the server, but for the list of models if there is a recent one."""
        dialect = OpenAIDialect(may_stream=asks_for_stream(body))
        return self._models.respond(dialect) if path == MODELS_PATH else Forward(path, body, dialect)

    def format_error(self, error: HttpError) -> bytes:
        """An error in OpenAI's format."""
        return openai_error(error)
