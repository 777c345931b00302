"""What the log says of a client's messages: how many there were and how long, never what they say.

The messages that a client sends within a second share a line: a line for each would double the cost of a message.
"""

import math
from typing import Final

from twisted.logger import Logger

log = Logger()

_PERIOD: Final = 1.0  # seconds from one line to the next


class MessageLog:
    """One client's messages, in at most one line a second."""

    __slots__ = ("_client", "_count", "_size", "_write_at")

    def __init__(self, client: int) -> None:
        """`client` is its number."""
        self._client = client
        self._count = 0  # messages that were not logged yet
        self._size = 0  # their characters or bytes
        self._write_at = -math.inf  # when the next line may be written

    def add(self, size: int, now: float) -> None:
        """A message came; `size` is its length in characters, or in bytes if it is an API request."""
        self._count += 1
        self._size += size
        if now >= self._write_at:
            self._write_at = now + _PERIOD
            self.write()

    def write(self) -> None:
        """Log what came since the last line, if anything did."""
        if self._count:
            log.info(self._format(self._count), number=self._client, count=self._count, size=self._size)
            self._count = self._size = 0

    def _format(self, count: int) -> str:
        if count == 1:
            return "client {number}: a message of {size} characters"
        return "client {number}: {count} messages of {size} characters"


class CallLog(MessageLog):
    """One client's API requests. Their paths are not logged, because they may contain names."""

    __slots__ = ()

    def _format(self, count: int) -> str:
        if count == 1:
            return "client {number}: an API request of {size} bytes"
        return "client {number}: {count} API requests of {size} bytes"
