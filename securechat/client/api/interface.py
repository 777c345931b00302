"""An interface of the local API, such as OpenAI's or Ollama's. It does not depend on sockets or on HTTP's syntax.

An `Interface` answers a request itself or forwards it to the server. A `Dialect` translates the server's response.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from securechat.client.api.errors import HttpError
from securechat.wire.items import Head, Piece, ServerEvent


class Dialect(Protocol):
    """Translates the response to one forwarded request: the result is one Head, followed by the bytes of the body.

    A method that raises HttpError ends the response with this error, and the call is cancelled. Before the Head such an
    error becomes the response.
    """

    @property
    def comment(self) -> bytes:
        """Written after 15 seconds of silence once the Head has been written; empty for none."""

    def head_without_status(self) -> Head | None:
        """A Head to write after 60 seconds without the server's; None if the response cannot begin without it."""

    def items(self, items: list[Head | Piece | ServerEvent]) -> Iterable[Head | bytes]:
        """The translation of these parts of the server's response. Each element is written in a chunk of its own."""

    def end(self) -> Iterable[Head | bytes]:
        """The rest, when the server's response is complete."""

    def error(self, error: HttpError) -> bytes | None:
        """The text of an error that ends a body that has begun; None if the connection must be reset."""


class Forward(NamedTuple):
    """A request for the server. `path` is one of the protocol's, such as ``models``; `body` is empty for GET."""

    path: str
    body: bytes
    dialect: Dialect


class Answer(NamedTuple):
    """A response of the client itself."""

    body: bytes
    content_type: str = "application/json"


class Interface(Protocol):
    """A set of paths that tools request, with its own formats."""

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods of a path, below the folder of the interface and without its query; empty if there is no such.

        `path` is percent-decoded, such as ``models/llama3.2:1b``. HttpError refuses the path with another status than
        404, before the body is read.
        """

    def respond(self, method: str, path: str, body: bytes) -> Forward | Answer:
        """How to respond to a request with one of the `methods`; HttpError if it is not valid.

        A GET has no body. A POST has the content type of JSON; its body has not been parsed.
        """

    def format_error(self, error: HttpError) -> bytes:
        """The JSON of an error."""
