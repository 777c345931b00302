"""An estimate of the tokens that an answer has used, for robots whose servers do not count them."""

from collections.abc import Sequence

from securechat.conversation import Conversation
from securechat.robots.chat_completions import tokens_in
from securechat.wire.items import Head, Piece, ServerEvent


def of_reply(conversation: Conversation, parts: Sequence[str], *, is_cancelled: bool = False) -> tuple[int, int]:
    """The tokens read and written for a reply; none if there is no text, unless the user has cancelled it.

    The server may have read the conversation by then; otherwise, cancelling in time would evade the limit.
    """
    written = sum(len(part.encode(errors="replace")) for part in parts)
    if not written and not is_cancelled:
        return 0, 0
    read = sum(len(turn.text.encode(errors="replace")) for turn in conversation.turns)
    return tokens_in(read), tokens_in(written)


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
        self.is_cancelled = False  # by the user, as in `of_reply`

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
        """The tokens read and written; none if there is no response, or only an error."""
        if self._has_failed or not (self._tokens or self._size or self.is_cancelled):
            return 0, 0
        written = 0 if self._path == "embeddings" else self._tokens + tokens_in(self._size)
        return tokens_in(self._read), written
