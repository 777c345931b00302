"""An estimate of the tokens that an answer has used, for robots whose servers do not count them."""

from typing import Protocol

from securechat.robots.chat_completions import tokens_in
from securechat.wire.items import Head, Piece, ServerEvent


class Estimate(Protocol):
    """An estimate of one answer."""

    is_cancelled: bool  # by the user

    @property
    def tokens(self) -> tuple[int, int]:
        """The tokens read and written; none if there is no answer, unless it was cancelled.

        The server may have read the request by then; otherwise, cancelling in time would evade a limit.
        """


class ReplyEstimate:
    """The tokens of a reply to a message."""

    __slots__ = ("_read", "is_cancelled", "written")

    def __init__(self, read: int) -> None:
        """`read` is the number of bytes of the conversation."""
        self._read = read
        self.written = 0  # bytes of the reply
        self.is_cancelled = False

    @property
    def tokens(self) -> tuple[int, int]:
        """As in Estimate."""
        if not self.written and not self.is_cancelled:
            return 0, 0
        return tokens_in(self._read), tokens_in(self.written)


class ResponseEstimate:
    """The tokens of the response to an API request. An event counts as one: most servers send one for each."""

    __slots__ = ("_has_failed", "_path", "_read", "_size", "_tokens", "is_cancelled")

    def __init__(self, path: str, read: int) -> None:
        """`read` is the number of bytes of the request."""
        self._path = path
        self._read = read
        self._tokens = 0
        self._size = 0  # bytes of a body
        self._has_failed = False
        self.is_cancelled = False

    def add(self, item: Head | Piece | ServerEvent) -> None:
        """Count an item of the response."""
        if isinstance(item, ServerEvent):
            self._tokens += 1
        elif isinstance(item, Piece):
            self._size += len(item.data)
        else:
            self._has_failed = item.status >= 400

    @property
    def tokens(self) -> tuple[int, int]:
        """As in Estimate. An error is no answer."""
        if self._has_failed or not (self._tokens or self._size or self.is_cancelled):
            return 0, 0
        written = 0 if self._path == "embeddings" else self._tokens + tokens_in(self._size)
        return tokens_in(self._read), written
