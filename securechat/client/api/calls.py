"""What the local API sends requests through, whatever carries them to the server."""

from typing import Protocol

from securechat.errors import Fault
from securechat.wire.items import Head, Piece, ServerEvent


class Unavailable(Exception):  # noqa: N818 - a state of the line rather than a fault
    """A request cannot be sent now. `message` is for the user, `retry_after` is in seconds, 0 if it would not help."""

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status  # of the HTTP response
        self.message = message
        self.retry_after = retry_after


class Call(Protocol):
    """One request on its way."""

    def cancel(self) -> None:
        """Stop it, and make no more callbacks, whether it has been sent or not. Does nothing if it has ended."""

    def pause(self) -> None:
        """Receive no more until `resume`. What has been received, at most 64 KiB, is still delivered."""

    def resume(self) -> None:
        """Continue after `pause`."""


class Receiver(Protocol):
    """Gets the response to one request, in order. Exactly one of `ended`, `failed` and `broken` is the last callback.

    `Calls.start` has returned before the first callback.
    """

    def itemsReceived(self, items: list[Head | Piece | ServerEvent]) -> None:
        """Parts of the response: at first its Head, then Pieces, or ServerEvents if it `is_stream`."""

    def ended(self) -> None:
        """The response is complete."""

    def failed(self, fault: Fault) -> None:
        """There is no response, or no more of it. The session goes on."""

    def broken(self) -> None:
        """The session has ended. What came is incomplete, and whether the request was carried out is unknown."""


class Calls(Protocol):
    """A way to send requests to the server."""

    @property
    def max_body(self) -> int:
        """Bytes in the longest body that can be sent."""

    def start(self, path: str, body: bytes, receiver: Receiver) -> Call:
        """Send a request, or queue it. `path` is relative, such as ``models``; `body` is empty for GET.

        Unavailable, with the status to respond: 413 if the body is too long, 429 if the queue is full, 503 if there is
        no connection to the server.
        """
